/* SPDX-License-Identifier: Apache-2.0 */
#include <forebay/version.h>

const char *forebay_version(void)
{
    return FB_VERSION; /* of meson.build */
}
