/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void append_os_text(forebay_error *error)
{
    char text[128];
    size_t used = strlen(error->message);
    /* the GNU strerror_r: may return a static string instead of filling `text` */
    const char *reason = strerror_r(error->os_error, text, sizeof text);
    (void)snprintf(error->message + used, sizeof error->message - used, " (%s)", reason);
}

static void replace_control_characters(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
    }
}

forebay_status fb_error(forebay_error *error, forebay_status status, int os_error, const char *format, ...)
{
    if (error == NULL)
        return status;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    error->os_error = os_error;
    if (os_error != 0)
        append_os_text(error);
    replace_control_characters(error->message);
    return status;
}
