/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a stream of records, lines and MessagePack: each record is one whole line,
 * or one whole value, those that are too long are stepped over, and what comes behind is found. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "record_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Checked in release builds too. */
#define require(condition) ((condition) ? (void)0 : abort())

#define SHORT 50 /* bytes; records are longer here and there */

/* `record` lies in the input where the stream says, and is one of its format. */
static void check_record(const fb_record_stream *stream, const uint8_t *data, size_t size, const uint8_t *record, size_t length)
{
    require(stream->offset + length <= size && memcmp(data + stream->offset, record, length) == 0);
    if (stream->format == FB_DUMP_MSGPACK) {
        fb_reader in = { .at = record, .end = record + length };
        require((fb_skip_value(&in) && fb_reader_left(&in) == 0) || in.reason != NULL);
        require(fb_reader_left(&in) == 0 || memchr(record, 0xc1, length) != NULL);
    } else {
        require(memchr(record, '\n', length) == NULL);
        require(stream->offset == 0 || data[stream->offset - 1] == '\n');
        require(stream->offset + length == size || data[stream->offset + length] == '\n');
    }
}

static void read_all(int fd, const uint8_t *data, size_t size, fb_dump_format format, size_t longest)
{
    fb_record_stream stream = { .fd = fd, .format = format, .longest = longest };
    uint64_t number = 0;
    require(lseek(fd, 0, SEEK_SET) == 0);
    for (;;) {
        const uint8_t *record;
        const char *reason = NULL;
        size_t length = 0;
        fb_next found = fb_record_next(&stream, &record, &length, &reason);
        require(found != FB_NEXT_FAILED && found != FB_NEXT_INTERRUPTED);
        if (found == FB_NEXT_END)
            break;
        require(stream.number > number);
        number = stream.number;
        if (found == FB_NEXT_BROKEN) {
            require(reason != NULL);
            break;
        }
        if (found == FB_NEXT_RECORD) {
            require(length <= longest);
            check_record(&stream, data, size, record, length);
        }
    }
    fb_record_stream_free(&stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1; /* one for all runs: making it takes longer than a run */
    if (fd < 0)
        fd = memfd_create("fuzz_records", MFD_CLOEXEC);
    require(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    for (fb_dump_format format = FB_DUMP_JSONL; format <= FB_DUMP_UNKNOWN; format++) {
        read_all(fd, data, size, format, size);
        read_all(fd, data, size, format, SHORT);
    }
    return 0;
}
