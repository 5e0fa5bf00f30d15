/* SPDX-License-Identifier: Apache-2.0 */
/* Takes a stream of bytes apart into records: lines, or MessagePack values one behind
 * the other.  It holds one record at a time, of bounded length. */
#ifndef FOREBAY_CLI_RECORD_STREAM_H
#define FOREBAY_CLI_RECORD_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dump_record.h"

typedef struct fb_record_stream {
    int fd;                /* the caller's */
    fb_dump_format format; /* FB_DUMP_UNKNOWN: fb_record_next() finds out by the first byte */
    size_t longest;        /* bytes of a record; longer ones are stepped over */
    uint64_t number;       /* of the record at hand, or the line, from 1 on */
    uint64_t offset;       /* where in the stream it begins, in bytes from 0 on */
    /* private */
    unsigned char *buffer; /* owned */
    size_t room, begin, end;
    uint64_t consumed; /* where in the stream buffer[begin] is */
    bool at_end;
} fb_record_stream;

typedef enum fb_next {
    FB_NEXT_RECORD,
    FB_NEXT_END,
    FB_NEXT_TOO_LONG,    /* stepped over */
    FB_NEXT_BROKEN,      /* MessagePack that nothing can be found behind: `reason` */
    FB_NEXT_FAILED,      /* read() failed: errno; ENOMEM is one of its reasons */
    FB_NEXT_INTERRUPTED, /* by a signal */
} fb_next;

/* The next record, good until the next call: `*data_out`, `*length_out`; a line is
 * without its end.  Lines of nothing but space are left out. */
fb_next fb_record_next(fb_record_stream *stream, const unsigned char **data_out, size_t *length_out,
                       const char **reason_out);
void fb_record_stream_free(fb_record_stream *stream);

#endif
