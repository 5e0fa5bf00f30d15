/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"

/* Ends with 0 if `python -m forebay.demo` can start, 4 if there is no such
 * module, 5 if the package is there but does not load. */
#define NO_MODULE 4
#define NO_LOAD 5
static const char probe[] = "import sys\n"
                            "from importlib.util import find_spec\n"
                            "try:\n"
                            "    found = find_spec('forebay') and find_spec('forebay.demo')\n"
                            "except Exception as error:\n"
                            "    print(type(error).__name__, error, sep=': ', file=sys.stderr)\n"
                            "    sys.exit(5)\n"
                            "sys.exit(0 if found else 4)\n";

/* The interpreter to use: $FOREBAY_PYTHON, else the one that lies beside this
 * program (a virtual environment), else python3 of PATH. */
static const char *choose_python(char beside[PATH_MAX])
{
    const char *chosen = getenv("FOREBAY_PYTHON");
    if (chosen != NULL && chosen[0] != '\0')
        return chosen;
    static const char name[] = "python3";
    ssize_t length = readlink("/proc/self/exe", beside, PATH_MAX - 1);
    if (length > 0) {
        beside[length] = '\0';
        char *slash = strrchr(beside, '/');
        if (slash != NULL && (size_t)(slash + 1 - beside) + sizeof(name) <= PATH_MAX) {
            memcpy(slash + 1, name, sizeof(name));
            if (access(beside, X_OK) == 0)
                return beside;
        }
    }
    return name;
}

static int say_probe_result(const char *python, int state)
{
    if (WIFEXITED(state) && WEXITSTATUS(state) == 0)
        return FB_EXIT_OK;
    if (WIFEXITED(state) && WEXITSTATUS(state) == NO_MODULE)
        return fb_fail("%s has no module forebay.demo; install it with: %s -m pip install forebay, "
                       "or set FOREBAY_PYTHON to the interpreter that has it",
                       python, python);
    if (WIFEXITED(state) && WEXITSTATUS(state) == NO_LOAD)
        return fb_fail("%s cannot load the package forebay, for the reason above; reinstall it, or "
                       "set FOREBAY_PYTHON to another interpreter",
                       python);
    if (WIFEXITED(state) && WEXITSTATUS(state) == 127)
        return fb_fail("cannot run %s; set FOREBAY_PYTHON to a Python 3 interpreter", python);
    return fb_fail("%s did not start properly; set FOREBAY_PYTHON to a Python 3 interpreter", python);
}

static int check_module(const char *python)
{
    pid_t child = fork();
    if (child < 0)
        return fb_fail("cannot start a process: %s", strerror(errno));
    if (child == 0) {
        execlp(python, python, "-c", probe, (char *)NULL);
        _exit(127);
    }
    int state;
    while (waitpid(child, &state, 0) < 0)
        if (errno != EINTR)
            return fb_fail("cannot wait for %s: %s", python, strerror(errno));
    return say_probe_result(python, state);
}

static int run_raw(int argc, char **argv)
{
    char beside[PATH_MAX];
    const char *python = choose_python(beside);
    signal(SIGPIPE, SIG_DFL); /* what is ignored here would stay so there */
    int code = check_module(python);
    if (code != FB_EXIT_OK)
        return code;
    const char **words = calloc((size_t)argc + 4, sizeof(*words));
    if (words == NULL)
        return fb_fail("out of memory");
    words[0] = python;
    words[1] = "-m";
    words[2] = "forebay.demo";
    for (int i = 0; i < argc; i++)
        words[3 + i] = argv[i];
    fflush(NULL);
    execvp(python, (char **)words);
    code = fb_fail("cannot run %s: %s", python, strerror(errno));
    free(words);
    return code;
}

const fb_command fb_cmd_demo = {
    .name = "demo",
    .synopsis = "[...]",
    .summary = "show what one arena saves worker processes",
    .details = "Run python3 -m forebay.demo with the same arguments; forebay demo --help lists them.\n"
               "The interpreter is $FOREBAY_PYTHON, else the python3 in the folder of this command,\n"
               "else the python3 of PATH.\n",
    .run_raw = run_raw,
};
