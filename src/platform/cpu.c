/* SPDX-License-Identifier: MIT */
/*
 * cpu.c - how many processors are ours, and which.
 *
 * Two limits apply: the affinity mask, and the quota of the control group or
 * of any group above it (version 2: cpu.max; version 1: cpu.cfs_*). A quota of
 * 2.5 processors counts as 3: with 2 workers half a processor would be wasted,
 * with 3 the kernel slows us for a moment now and then.
 *
 * The mask is read once, by the first call: threads that were bound since
 * would otherwise pass their own narrow mask off as the process's.
 */
#include "platform/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "utils/compiler.h"

enum {
    CPU_MASK_BITS = 16384, /* twice what the kernel can be built for */
    CPU_WORD_BITS = 8 * sizeof(unsigned long),
    CPU_PATH_MAX = 1024,
    CPU_LINE_MAX = 2048,
};

struct cpu_mask {
    unsigned long word[CPU_MASK_BITS / CPU_WORD_BITS];
};

static struct cpu_mask cpu_allowed; /* after cpu_once, read only */
static unsigned cpu_count;
static pthread_once_t cpu_once = PTHREAD_ONCE_INIT;

static void cpu_read_mask(void)
{
    int rc = sched_getaffinity(0, sizeof cpu_allowed,
                               (cpu_set_t *)(void *)cpu_allowed.word);

    if (rc < 0)
        return; /* forbidden: cpu_count stays 0 and binding fails */
    for (size_t i = 0; i < ZK_ARRAY_LEN(cpu_allowed.word); i++)
        cpu_count += (unsigned)__builtin_popcountl(cpu_allowed.word[i]);
}

/* ---- control groups ------------------------------------------------------ */

/* Reads a file line by line without the heap. */
struct line_reader {
    int fd;
    size_t begin, end;
    char text[CPU_LINE_MAX];
};

/* The next line, without its newline; NULL at the end. A line longer than the
 * buffer comes in pieces, which no caller recognises. */
static char *line_next(struct line_reader *r)
{
    for (;;) {
        char *line = r->text + r->begin;
        char *newline = memchr(line, '\n', r->end - r->begin);
        ssize_t n;

        if (newline != NULL) {
            *newline = '\0';
            r->begin = (size_t)(newline - r->text) + 1;
            return line;
        }
        memmove(r->text, line, r->end - r->begin);
        r->end -= r->begin;
        r->begin = 0;
        if (r->end == sizeof r->text - 1)
            n = 0;
        else
            n = zk__sys_read(r->fd, r->text + r->end,
                             sizeof r->text - 1 - r->end);
        if (n > 0) {
            r->end += (size_t)n;
            continue;
        }
        if (r->end == 0)
            return NULL;
        r->text[r->end] = '\0';
        r->begin = r->end = 0;
        return r->text;
    }
}

/* Is `word` in a list separated by commas? */
static bool list_has(const char *list, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, word, len) == 0 && (at[len] == ',' || at[len] == '\0'))
            return true;
    }
    return false;
}

/* The path of our group from /proc/self/cgroup: "id:controllers:path". */
static bool cgroup_path(const char *file, bool v2, char *out, size_t size)
{
    struct line_reader r = {.fd = open(file, O_RDONLY | O_CLOEXEC)};
    bool found = false;
    char *line;

    if (r.fd < 0)
        return false;
    while (!found && (line = line_next(&r)) != NULL) {
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;

        if (path == NULL)
            continue;
        *path++ = '\0';
        controllers++;
        if (v2 ? controllers[0] != '\0' : !list_has(controllers, "cpu"))
            continue;
        snprintf(out, size, "%s", path);
        found = true;
    }
    zk__sys_close(r.fd);
    return found;
}

/* Where the hierarchy is mounted, and which of its groups is the mount's root:
 * "id parent dev root point options [tags] - type source options". */
static bool cgroup_mount(const char *file, bool v2, char *root, char *point)
{
    struct line_reader r = {.fd = open(file, O_RDONLY | O_CLOEXEC)};
    bool found = false;
    char *line;

    if (r.fd < 0)
        return false;
    while (!found && (line = line_next(&r)) != NULL) {
        char type[16], options[512];
        char *tail = strstr(line, " - ");

        if (tail == NULL ||
            sscanf(tail, " - %15s %*s %511s", type, options) != 2 ||
            sscanf(line, "%*s %*s %*s %1023s %1023s", root, point) != 2)
            continue;
        found = v2 ? strcmp(type, "cgroup2") == 0
                   : strcmp(type, "cgroup") == 0 && list_has(options, "cpu");
    }
    zk__sys_close(r.fd);
    return found;
}

/* The first two numbers of a file; "max" and errors leave them alone. */
static int quota_numbers(const char *dir, const char *name, long long *first,
                         long long *second)
{
    char text[128], path[2 * CPU_PATH_MAX + 32];
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    n = zk__sys_read(fd, text, sizeof text - 1);
    zk__sys_close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    return sscanf(text, "%lld %lld", first, second);
}

/* Processors that one group allows, rounded up; 0: no limit. */
static unsigned quota_of(const char *dir, bool v2)
{
    long long quota = -1, period = 100000, ignored;

    if (v2) {
        if (quota_numbers(dir, "cpu.max", &quota, &period) < 1)
            return 0;
    } else {
        quota_numbers(dir, "cpu.cfs_quota_us", &quota, &ignored);
        quota_numbers(dir, "cpu.cfs_period_us", &period, &ignored);
    }
    if (quota <= 0 || period <= 0)
        return 0;
    return (unsigned)((quota + period - 1) / period);
}

/* The narrowest limit from our group up to the root of the mount; 0: none. A
 * path that this mount does not show has no files on the way up, but the root
 * has them. */
static unsigned quota_hierarchy(const char *groups, const char *mounts, bool v2)
{
    char path[CPU_PATH_MAX], root[CPU_PATH_MAX], point[CPU_PATH_MAX];
    char dir[2 * CPU_PATH_MAX];
    const char *below = path;
    unsigned least = 0;
    size_t len, base;

    if (!cgroup_path(groups, v2, path, sizeof path) ||
        !cgroup_mount(mounts, v2, root, point))
        return 0;
    len = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (strncmp(path, root, len) == 0 &&
        (path[len] == '/' || path[len] == '\0'))
        below = path + len;
    base = (size_t)snprintf(dir, sizeof dir, "%s", point);
    snprintf(dir + base, sizeof dir - base, "%s", below);
    for (;;) {
        unsigned n = quota_of(dir, v2);
        char *slash = strrchr(dir + base, '/');

        if (n != 0 && (least == 0 || n < least))
            least = n;
        if (slash == NULL)
            return least;
        *slash = '\0';
    }
}

unsigned zk__cpu_quota(const char *groups, const char *mounts)
{
    unsigned v2 = quota_hierarchy(groups, mounts, true);
    unsigned v1 = quota_hierarchy(groups, mounts, false);

    if (v1 == 0 || v2 == 0)
        return v1 + v2;
    return v1 < v2 ? v1 : v2;
}

/* ---- the public part ----------------------------------------------------- */

unsigned zk__cpu_usable(void)
{
    unsigned quota = zk__cpu_quota("/proc/self/cgroup", "/proc/self/mountinfo");
    unsigned n;

    pthread_once(&cpu_once, cpu_read_mask);
    n = cpu_count > 0 ? cpu_count : 1;
    return quota != 0 && quota < n ? quota : n;
}

static int cpu_apply(const struct cpu_mask *mask)
{
    const cpu_set_t *set = (const cpu_set_t *)(const void *)mask->word;

    return sched_setaffinity(0, sizeof *mask, set) < 0 ? -errno : 0;
}

int zk__cpu_bind(unsigned index)
{
    struct cpu_mask one = {{0}};

    pthread_once(&cpu_once, cpu_read_mask);
    if (cpu_count == 0)
        return -ENOSYS;
    index %= cpu_count;
    for (size_t i = 0; i < CPU_MASK_BITS; i++) {
        unsigned long bit = 1ul << (i % CPU_WORD_BITS);

        if (!(cpu_allowed.word[i / CPU_WORD_BITS] & bit) || index-- > 0)
            continue;
        one.word[i / CPU_WORD_BITS] = bit;
        break;
    }
    return cpu_apply(&one);
}

int zk__cpu_unbind(void)
{
    pthread_once(&cpu_once, cpu_read_mask);
    return cpu_count == 0 ? -ENOSYS : cpu_apply(&cpu_allowed);
}

zk_time_t zk__thread_cpu_time(uint32_t kernel_id)
{
    /* The kernel's name for the clock of a thread: clock_getcpuclockid(3). */
    clockid_t clock = (clockid_t)((~kernel_id << 3) | 6);
    struct timespec t;

    if (clock_gettime(clock, &t) < 0)
        return 0;
    return ZK_SEC(t.tv_sec) + t.tv_nsec;
}

char zk__thread_state(uint32_t kernel_id)
{
    char path[64], text[128];
    char *end;
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/proc/self/task/%u/stat", kernel_id);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    n = zk__sys_read(fd, text, sizeof text - 1);
    zk__sys_close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    /* "id (name) state ...", and the name may hold anything. */
    end = strrchr(text, ')');
    return end != NULL && end[1] == ' ' ? end[2] : 0;
}
