/* What the fuzz targets share. A target is one function, LLVMFuzzerTestOneInput, around a real reader of files; whatever the bytes, it must
 * come back with success or one clear line, and what it claims beyond that stands there as assertions. libFuzzer drives it, or replay.c. */
#ifndef RS_TESTS_FUZZ_H
#define RS_TESTS_FUZZ_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* A temporary folder, in memory where that can be had: made at the first call, removed at exit. */
const char *fuzz_folder(void);
/* Path of a file in that folder; freed by the caller. */
char *fuzz_path(const char *name);
/* Makes that file hold these bytes. */
void fuzz_write(const char *name, const void *data, size_t n);

/* Claims that a reader's failure is the input's fault and told in one line; clears the message for the next. */
void fuzz_check(rs_status status);

#endif
