/* SPDX-License-Identifier: MIT */
/*
 * process.c - usage of another process.
 *
 * The total comes from the process's processor clock: nanoseconds, running
 * threads and ended ones included, which /proc/<pid>/schedstat is not (it
 * speaks of the first thread). user and system come from /proc/<pid>/stat,
 * where the kernel splits the same total by what its ticks saw, so only their
 * proportion is used.
 */
#include "process.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int stat_read(pid_t pid, struct process_usage *out)
{
    char path[64], text[1024], *p;
    size_t n;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    f = fopen(path, "re");
    if (f == NULL)
        return -1;
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    p = strrchr(text, ')'); /* the name may hold anything */
    if (p == NULL)
        return -1;
    return sscanf(p + 1,
                  " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64
                  " %" SCNu64,
                  &out->user_ticks, &out->system_ticks) == 2
               ? 0
               : -1;
}

/* The number after `key` in a file of "key: value [kB]" lines, or 0. */
static uint64_t field_read(const char *path, const char *key)
{
    char line[256];
    uint64_t value = 0;
    FILE *f = fopen(path, "re");

    if (f == NULL)
        return 0;
    while (fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, key, strlen(key)) == 0) {
            sscanf(line + strlen(key), "%" SCNu64, &value);
            break;
        }
    }
    fclose(f);
    return value;
}

static uint64_t switches_read(pid_t pid)
{
    char path[320];
    struct dirent *entry;
    uint64_t sum = 0;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    dir = opendir(path);
    if (dir == NULL)
        return 0;
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/status", (int)pid,
                 entry->d_name);
        sum += field_read(path, "voluntary_ctxt_switches:");
    }
    closedir(dir);
    return sum;
}

int process_usage_read(pid_t pid, struct process_usage *out)
{
    char path[64];
    struct timespec ts;
    clockid_t clock;

    memset(out, 0, sizeof *out);
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &ts) < 0)
        return -1;
    out->cpu_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
    if (stat_read(pid, out) < 0)
        return -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    out->resident_bytes = field_read(path, "VmRSS:") * 1024;
    out->page_table_bytes = field_read(path, "VmPTE:") * 1024;
    out->slab_bytes = field_read("/proc/meminfo", "Slab:") * 1024;
    out->switches = switches_read(pid);
    return 0;
}
