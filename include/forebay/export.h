/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FOREBAY_EXPORT_H
#define FOREBAY_EXPORT_H

#define FOREBAY_API __attribute__((visibility("default")))
#define FOREBAY_MUST_CHECK __attribute__((warn_unused_result))

#ifdef __cplusplus
#define FOREBAY_BEGIN extern "C" {
#define FOREBAY_END }
#else
#define FOREBAY_BEGIN
#define FOREBAY_END
#endif

#endif
