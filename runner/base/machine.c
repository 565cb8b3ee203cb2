#include "base/machine.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The number after `key` in a file of "key number" lines; key "": the file's first number. */
static bool read_number(const char *path, const char *key, size_t *value)
{
    char line[512];
    bool found = false;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    while (!found && fgets(line, sizeof line, file))
        found = strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), " %zu", value) == 1;
    fclose(file);
    return found;
}

/* Folder of this process's control group that has a memory limit: version 2, or version 1's memory controller. */
static bool find_group(char *folder, size_t n, bool *version2)
{
    char line[512], path[512];
    bool found = false;
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (file == NULL)
        return false;
    while (!found && fgets(line, sizeof line, file)) {
        *version2 = strncmp(line, "0::", 3) == 0;
        if (!*version2 && strstr(line, ":memory:") == NULL)
            continue;
        line[strcspn(line, "\n")] = '\0';
        int length = snprintf(folder, n, "/sys/fs/cgroup%s%s", *version2 ? "" : "/memory", strrchr(line, ':') + 1);
        if (length < 0 || (size_t)length >= n)
            continue;
        length = snprintf(path, sizeof path, "%s/%s", folder, *version2 ? "memory.max" : "memory.limit_in_bytes");
        size_t limit;
        found = length > 0 && (size_t)length < sizeof path && read_number(path, "", &limit);
    }
    fclose(file);
    return found;
}

static void limit_to_group(size_t *total, size_t *available)
{
    char folder[384], path[512];
    size_t limit = 0, used = 0, files = 0;
    bool version2;
    if (!find_group(folder, sizeof folder, &version2))
        return;
    snprintf(path, sizeof path, "%s/%s", folder, version2 ? "memory.max" : "memory.limit_in_bytes");
    if (!read_number(path, "", &limit) || limit >= *total) /* "max": no limit */
        return;
    snprintf(path, sizeof path, "%s/%s", folder, version2 ? "memory.current" : "memory.usage_in_bytes");
    read_number(path, "", &used);
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    read_number(path, version2 ? "inactive_file" : "total_inactive_file", &files);
    used = used > files ? used - files : 0;
    size_t left = limit > used ? limit - used : 0;
    *total = limit;
    *available = left < *available ? left : *available;
}

void rs_machine_memory(size_t *total, size_t *available)
{
    *total = *available = 0;
    if (!read_number("/proc/meminfo", "MemTotal:", total) || !read_number("/proc/meminfo", "MemAvailable:", available))
        return;
    *total *= 1024;
    *available *= 1024;
    limit_to_group(total, available);
}
