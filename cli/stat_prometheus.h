/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FOREBAY_CLI_STAT_PROMETHEUS_H
#define FOREBAY_CLI_STAT_PROMETHEUS_H

#include "stat_facts.h"

/* Print the figures in Prometheus's text exposition format 0.0.4, in UTF-8.  The
 * label `arena` is the real path of the file.  The row of this command itself
 * counts as free.  docs/metrics.md lists the metrics; forebay.metrics.Collector
 * gives the same ones. */
void fb_prometheus_print(const arena_facts *facts);

#endif
