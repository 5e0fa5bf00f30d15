/* SPDX-License-Identifier: Apache-2.0 */
/* version.c; that all places name one version: tests/structure/test_installed_library.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <forebay/version.h>

static void the_version_is_three_numbers(void **state)
{
    (void)state;
    unsigned major, minor, patch;
    int length = 0;
    assert_int_equal(sscanf(forebay_version(), "%u.%u.%u%n", &major, &minor, &patch, &length), 3);
    assert_int_equal(length, strlen(forebay_version()));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_version_is_three_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
