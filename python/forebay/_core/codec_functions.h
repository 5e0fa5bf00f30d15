/* SPDX-License-Identifier: Apache-2.0 */
/* Under forebay.codec: compression without an arena.  All let other threads run
 * meanwhile; buffers stay exported until they are done. */
#ifndef CORE_CODEC_FUNCTIONS_H
#define CORE_CODEC_FUNCTIONS_H

#include "core.h"

#define CODEC_NAMES_DOC "_codec_names()\n--\n\nThe names of the codecs."
#define CODEC_RECOGNISE_DOC                                                                                  \
    "_codec_recognise(data, /)\n--\n\nThe name of the codec whose format data begins with; CorruptError if none."
#define CODEC_DICTIONARY_DOC                                                                                 \
    "_codec_dictionary(codec, level, data, /)\n--\n\nA dictionary for the calls below, as an opaque object."
#define CODEC_COMPRESS_DOC                                                                                   \
    "_codec_compress(data, codec, level, dictionary, /)\n--\n\nThe data in the codec's standard format."
#define CODEC_DECOMPRESS_DOC                                                                                 \
    "_codec_decompress(data, codec, max_size, dictionary, /)\n--\n\nThe data of the codec's standard format."
#define CODEC_TRAIN_DOC "_codec_train(samples, size, /)\n--\n\nA dictionary of at most size bytes."

PyObject *codec_names(PyObject *module, PyObject *unused);
PyObject *codec_recognise(PyObject *module, PyObject *data);
PyObject *codec_dictionary(PyObject *module, PyObject *arguments);
PyObject *codec_compress(PyObject *module, PyObject *arguments);
PyObject *codec_decompress(PyObject *module, PyObject *arguments);
PyObject *codec_train(PyObject *module, PyObject *arguments);

#endif
