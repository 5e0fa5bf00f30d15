/* SPDX-License-Identifier: Apache-2.0 */
#include "utf8.h"

size_t fb_decode_utf8(const unsigned char *p, size_t left, uint32_t *character_out)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t length = p[0] < 0x80 ? 1 : p[0] < 0xc0 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (length == 0 || length > left || p[0] > 0xf4)
        return 0;
    uint32_t character = length == 1 ? p[0] : p[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        character = character << 6 | (p[i] & 0x3fu);
    }
    if (length > 1 && (character < least[length] || character > 0x10ffff))
        return 0;
    *character_out = character;
    return length;
}
