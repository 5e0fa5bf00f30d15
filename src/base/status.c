/* SPDX-License-Identifier: Apache-2.0 */
#include <forebay/status.h>

const char *forebay_status_text(forebay_status status)
{
    switch (status) {
#define STATUS_TEXT(name, value, text) \
    case FOREBAY_##name:               \
        return text;
        FOREBAY_STATUS_TABLE(STATUS_TEXT)
#undef STATUS_TEXT
    }
    return "unknown status";
}
