/* SPDX-License-Identifier: Apache-2.0 */
/* Time that a hypervisor gave to other machines.  It counts as time of the CPU
 * of whoever was running, so that a test of a longest call must take it off. */
#ifndef TESTS_STRESS_STOLEN_H
#define TESTS_STRESS_STOLEN_H

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Microseconds stolen since the machine started, to its clock tick (10 ms),
 * from one processor or, with -1, from all. */
static inline double stolen_us(int cpu)
{
    char line[256], name[16];
    double stolen = 0;
    snprintf(name, sizeof name, cpu < 0 ? "cpu " : "cpu%d ", cpu);
    FILE *file = fopen("/proc/stat", "re");
    if (file == NULL)
        return 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            (void)sscanf(line, "%*s %*s %*s %*s %*s %*s %*s %*s %lf", &stolen);
    fclose(file);
    return stolen * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

#endif
