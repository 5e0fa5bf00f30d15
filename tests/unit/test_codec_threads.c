/* SPDX-License-Identifier: Apache-2.0 */
/* Threads and forks share codecs and dictionaries: context_pool.c. */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "codec_fixture.h"

#define THREADS 12 /* more than there are slots */

typedef struct worker {
    pthread_t thread;
    int codec;
    forebay_codec_dictionary *dictionary; /* everybody's, unused before */
    unsigned rounds;
    bool good;
} worker;

static void *pack_and_unpack(void *argument)
{
    worker *self = argument;
    char raw[512], block[2048], to[512];
    self->good = true;
    for (unsigned i = 0; i < self->rounds; i++) {
        size_t length = write_record(raw, sizeof raw, i);
        size_t packed = fb_codec_pack(self->codec, FOREBAY_CODEC_USUAL_LEVEL, self->dictionary, block,
                                      sizeof block, raw, length);
        self->good &= packed != 0 && fb_codec_unpack(self->codec, self->dictionary, to, length, block, packed)
                      && memcmp(raw, to, length) == 0;
    }
    return NULL;
}

static void start(worker workers[], int codec, forebay_codec_dictionary *dictionary, unsigned rounds)
{
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (worker){ .codec = codec, .dictionary = dictionary, .rounds = rounds };
        assert_int_equal(pthread_create(&workers[i].thread, NULL, pack_and_unpack, &workers[i]), 0);
    }
}

static void finish(worker workers[])
{
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_true(workers[i].good);
    }
}

static void threads_share_codecs_and_dictionaries(void **state)
{
    (void)state;
    worker workers[THREADS];
    for (int codec = 1; codec <= CODECS; codec++) {
        forebay_codec_dictionary *both[2];
        size_t count = dictionaries_of(codec, both);
        for (size_t i = 0; i < count; i++) {
            start(workers, codec, both[i], codec >= FOREBAY_CODEC_BZ2 ? 8 : 60);
            finish(workers);
        }
        forebay_codec_dictionary_free(both[1]);
    }
}

/* Threads hold contexts at the moment of the fork; the child has none of those
 * threads, and must do without what they had taken. */
static void a_child_goes_on_wherever_the_parents_threads_were(void **state)
{
    (void)state;
    worker workers[THREADS];
    for (int codec = FOREBAY_CODEC_ZSTD; codec <= FOREBAY_CODEC_GZIP; codec++) {
        forebay_codec_dictionary *both[2];
        size_t count = dictionaries_of(codec, both);
        start(workers, codec, both[count - 1], 200);
        for (int n = 0; n < 3; n++) {
            pid_t child = fork();
            assert_true(child >= 0);
            if (child == 0) {
                worker own = { .codec = codec, .dictionary = both[count - 1], .rounds = 20 };
                pack_and_unpack(&own);
                kill(getpid(),
                     own.good ? SIGKILL : SIGABRT); /* a sanitizer would miss the threads at an exit */
            }
            int status;
            assert_int_equal(waitpid(child, &status, 0), child);
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        }
        finish(workers);
        forebay_codec_dictionary_free(both[1]);
    }
}

static void idle_contexts_can_be_ended_at_any_time(void **state)
{
    (void)state;
    worker workers[THREADS];
    start(workers, FOREBAY_CODEC_ZSTD, NULL, 100);
    for (int i = 0; i < 100; i++)
        fb_codec_trim();
    finish(workers);
    fb_codec_trim();
    fb_codec_trim();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_share_codecs_and_dictionaries),
        cmocka_unit_test(a_child_goes_on_wherever_the_parents_threads_were),
        cmocka_unit_test(idle_contexts_can_be_ended_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
