/* SPDX-License-Identifier: Apache-2.0 */
#include "hex.h"

#include <ctype.h>

static int digit_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    int letter = tolower((unsigned char)digit);
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

int fb_hex_byte(const char *digits)
{
    int high = digit_value(digits[0]);
    int low = high < 0 ? -1 : digit_value(digits[1]);
    return low < 0 ? -1 : high << 4 | low;
}
