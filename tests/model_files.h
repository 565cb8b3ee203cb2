/* Checkpoints made for one test: a temporary folder and files in it. Failures to write fail the test. Included after cmocka.h. */
#ifndef RS_TESTS_MODEL_FILES_H
#define RS_TESTS_MODEL_FILES_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/status.h"

typedef struct test_folder {
    char path[64];
} test_folder;

static inline test_folder folder_make(void)
{
    test_folder folder = {.path = "/tmp/ropesweep-test-XXXXXX"};
    assert_non_null(mkdtemp(folder.path));
    return folder;
}

static inline void folder_remove(const test_folder *folder)
{
    DIR *dir = opendir(folder->path);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        char *path = rs_format("%s/%s", folder->path, entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(path);
        free(path);
    }
    closedir(dir);
    assert_int_equal(rmdir(folder->path), 0);
}

static inline void file_write(const test_folder *folder, const char *name, const void *bytes, size_t n)
{
    char *path = rs_format("%s/%s", folder->path, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
    free(path);
}

static inline void file_text(const test_folder *folder, const char *name, const char *text)
{
    file_write(folder, name, text, strlen(text));
}

/* Byte i of a made data part. */
static inline unsigned char data_byte(size_t i)
{
    return (unsigned char)(i * 37 + 11);
}

/* A safetensors file: the header as given, then n_data bytes. */
static inline void file_safetensors(const test_folder *folder, const char *name, const char *header, size_t n_data)
{
    size_t n_header = strlen(header);
    unsigned char *bytes = rs_alloc(8 + n_header + n_data, 1);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(n_header >> 8 * i);
    memcpy(bytes + 8, header, n_header);
    for (size_t i = 0; i < n_data; i++)
        bytes[8 + n_header + i] = data_byte(i);
    file_write(folder, name, bytes, 8 + n_header + n_data);
    free(bytes);
}

/* The last failure's message has every word; clears it. */
static inline void expect_message(const char *word, const char *other_word)
{
    const char *message = rs_error_message();
    if (strstr(message, word) == NULL || strstr(message, other_word) == NULL)
        fail_msg("\"%s\" and \"%s\" expected in: %s", word, other_word, message);
    rs_error_clear();
}

#endif
