/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes through the command's JSON reader.  What is read is written as JSON, as
 * `forebay dump` does, and must be read as the same; and it is taken for a record. */
#include <stdlib.h>
#include <string.h>

#include "dump_record.h"
#include "json_pack.h"
#include "payload_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Checked in release builds too. */
#define require(condition) ((condition) ? (void)0 : abort())

static void read_again(const fb_packer *packed)
{
    char *text = NULL;
    size_t length, at;
    const char *reason;
    fb_packer again = { 0 };
    FILE *memory = open_memstream(&text, &length);
    require(memory != NULL);
    fb_json json = { .out = memory };
    bool written = fb_payload_write_json(&json, FOREBAY_KIND_MSGPACK, packed->data, packed->length, &reason);
    require(fclose(memory) == 0);
    /* a tag inside $map or $ext may be of a form that Forebay does not write: then it is no text, or another */
    if (written && fb_json_to_pack(text, length, &again, &reason, &at)) {
        fb_packer third = { 0 };
        char *second_text = NULL;
        memory = open_memstream(&second_text, &length);
        require(memory != NULL);
        json = (fb_json){ .out = memory };
        require(fb_payload_write_json(&json, FOREBAY_KIND_MSGPACK, again.data, again.length, &reason));
        require(fclose(memory) == 0);
        require(fb_json_to_pack(second_text, length, &third, &reason, &at));
        require(third.length == again.length && memcmp(third.data, again.data, again.length) == 0);
        free(second_text);
        fb_packer_free(&third);
    }
    free(text);
    fb_packer_free(&again);
}

/* A record that was read gives the same bytes when it is written, and read, and written. */
static void as_record(const void *data, size_t length)
{
    static fb_record record, same;
    const char *reason;
    fb_packer first = { 0 }, second = { 0 };
    if (!fb_record_from_pack(data, length, &record, &reason)) {
        require(reason != NULL);
        return;
    }
    fb_record_to_pack(&record, FB_FORM_PLAIN, &first);
    require(fb_record_from_pack(first.data, first.length, &same, &reason));
    fb_record_to_pack(&same, FB_FORM_PLAIN, &second);
    require(first.length == second.length && memcmp(first.data, second.data, first.length) == 0);
    fb_packer_free(&first);
    fb_packer_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fb_packer packed = { 0 };
    const char *reason = NULL;
    size_t at = 0;
    if (fb_json_to_pack((const char *)data, size, &packed, &reason, &at)) {
        fb_reader in = { .at = packed.data, .end = packed.data + packed.length };
        require(fb_skip_value(&in) && fb_reader_left(&in) == 0);
        read_again(&packed);
        as_record(packed.data, packed.length);
    } else {
        require(reason != NULL && at <= size);
    }
    as_record(data, size);
    fb_packer_free(&packed);
    return 0;
}
