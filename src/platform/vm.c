/* SPDX-License-Identifier: MIT */
/*
 * vm.c - pages from the system, and guards that stop a stack's overflow.
 *
 * Guards come in two kinds. MADV_GUARD_INSTALL (Linux 6.13) puts markers into
 * the page table and leaves the mapping in one piece. mprotect(PROT_NONE) cuts
 * it, two mappings a guard, and their number is limited (vm.max_map_count).
 * Which one works is asked by its effect, not by kernel version and not by the
 * call's result: an emulator may accept an advice and ignore it. The effect is
 * that the kernel refuses to read there on our behalf.
 */
#include "platform/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "utils/compiler.h"
#include "utils/fault.h"

/* Newer than the headers this must compile with. */
#define VM_MADV_GUARD_INSTALL 102

enum {
    VM_RESIDENT_PAGES = 512, /* asked of mincore() at once */
    VM_GUARD_BUDGET_MIN = 64,
    VM_MAP_COUNT = 65530, /* the kernel's default of vm.max_map_count */
};

#if defined(ZK_FAULTS)
static _Atomic int64_t fault_countdown[ZK_N_FAULT_POINTS];
static _Atomic int64_t fault_left[ZK_N_FAULT_POINTS];

void zk__fault_repeat(enum zk_fault_point point, uint64_t after, uint64_t times)
{
    zk_atomic_store(&fault_left[point], 0, relaxed);
    zk_atomic_store(&fault_countdown[point], (int64_t)after, relaxed);
    zk_atomic_store(&fault_left[point], after > 0 ? (int64_t)times : 0,
                    relaxed);
}

void zk__fault_set(enum zk_fault_point point, uint64_t after)
{
    zk__fault_repeat(point, after, 1);
}

bool zk__fault_hit(enum zk_fault_point point)
{
    if (zk_atomic_load(&fault_left[point], relaxed) <= 0)
        return false;
    if (zk_atomic_sub(&fault_countdown[point], 1, relaxed) > 1)
        return false;
    return zk_atomic_sub(&fault_left[point], 1, relaxed) > 0;
}
#endif

size_t zk__vm_page_size(void)
{
    static _Atomic size_t cached;
    size_t size = zk_atomic_load(&cached, relaxed);

    if (size == 0) {
        size = (size_t)sysconf(_SC_PAGESIZE);
        zk_atomic_store(&cached, size, relaxed);
    }
    return size;
}

/* Cut what lies outside [start, start + size) from a longer mapping. */
static void vm_trim(char *mapped, size_t length, char *start, size_t size)
{
    size_t head = (size_t)(start - mapped);

    if (head > 0)
        munmap(mapped, head);
    if (length - head > size)
        munmap(start + size, length - head - size);
}

int zk__vm_map(void **out, size_t size, size_t align, unsigned flags)
{
    size_t page = zk__vm_page_size(), length;
    int map_flags = MAP_PRIVATE | MAP_ANONYMOUS;
    char *mapped, *start;

    if (ZK_FAULT(ZK_FAULT_MAP))
        return -ENOMEM;
    if (flags & ZK_VM_STACK)
        map_flags |= MAP_STACK | MAP_NORESERVE;
    size = (size + page - 1) & ~(page - 1);
    length = align > page ? size + align - page : size;
    if (size == 0 || length < size)
        return -EINVAL;
    mapped = mmap(NULL, length, PROT_READ | PROT_WRITE, map_flags, -1, 0);
    if (mapped == MAP_FAILED)
        return -errno;
    start = mapped;
    if (align > page) {
        start += -(uintptr_t)mapped & (align - 1);
        vm_trim(mapped, length, start, size);
    }
    /* Advice; a kernel without huge pages refuses it and nothing is lost. */
    if (flags & ZK_VM_STACK)
        (void)madvise(start, size, MADV_NOHUGEPAGE);
    if (flags & ZK_VM_HUGE)
        (void)madvise(start, size, MADV_HUGEPAGE);
    *out = start;
    return 0;
}

void zk__vm_unmap(void *addr, size_t size)
{
    size_t page = zk__vm_page_size();
    int rc = munmap(addr, (size + page - 1) & ~(page - 1));

    /* Only a split of one mapping into two can be refused, and zk__vm_map()'s
     * are given back whole. */
    ZK_ASSERT(rc == 0 || errno == ENOMEM);
}

int zk__vm_discard(void *addr, size_t size)
{
    return madvise(addr, size, MADV_DONTNEED) < 0 ? -errno : 0;
}

size_t zk__vm_resident(void *addr, size_t size)
{
    size_t page = zk__vm_page_size(), resident = 0;
    unsigned char vec[VM_RESIDENT_PAGES];
    char *at = addr, *end = at + size;

    while (at < end) {
        size_t pages = ((size_t)(end - at) + page - 1) / page;

        if (pages > ZK_ARRAY_LEN(vec))
            pages = ZK_ARRAY_LEN(vec);
        if (mincore(at, pages * page, vec) < 0)
            break;
        for (size_t i = 0; i < pages; i++)
            resident += vec[i] & 1;
        at += pages * page;
    }
    return resident * page;
}

/* Can the kernel read a byte at `addr`? By the bare system call: a wrapper
 * that looks at the memory itself would die there. */
static bool vm_readable(int fd, const char *addr)
{
    return syscall(SYS_write, fd, addr, (size_t)1) == 1;
}

/* Does a guard on the second of three pages stop a read there, and only
 * there? */
static bool vm_guard_works(enum zk_guard_kind kind, char *at, int fd)
{
    size_t page = zk__vm_page_size();

    return zk__vm_guard(kind, at + page, page) == 0 && vm_readable(fd, at) &&
           !vm_readable(fd, at + page) && vm_readable(fd, at + 2 * page);
}

int zk__vm_guard_probe(void)
{
    static _Atomic int cached; /* kind + 1 */
    int kind = zk_atomic_load(&cached, relaxed) - 1;
    size_t page = zk__vm_page_size();
    void *mapped;
    int fd[2], rc;

    if (kind >= 0)
        return kind;
    /* A failure to ask is no answer: the next call asks again. */
    if (pipe2(fd, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    rc = zk__vm_map(&mapped, 5 * page, 0, ZK_VM_STACK);
    if (rc < 0)
        goto close_pipe;
    if (vm_guard_works(ZK_GUARD_MADVISE, mapped, fd[1]))
        rc = ZK_GUARD_MADVISE;
    else if (vm_guard_works(ZK_GUARD_MPROTECT, (char *)mapped + 2 * page,
                            fd[1]))
        rc = ZK_GUARD_MPROTECT;
    else
        rc = ZK_GUARD_NONE;
    zk_atomic_store(&cached, rc + 1, relaxed);
    zk__vm_unmap(mapped, 5 * page);
close_pipe:
    zk__sys_close(fd[0]);
    zk__sys_close(fd[1]);
    return rc;
}

int zk__vm_guard(enum zk_guard_kind kind, void *addr, size_t size)
{
    int rc;

    switch (kind) {
    case ZK_GUARD_MADVISE:
        rc = madvise(addr, size, VM_MADV_GUARD_INSTALL);
        break;
    case ZK_GUARD_MPROTECT:
        rc = mprotect(addr, size, PROT_NONE);
        break;
    case ZK_GUARD_NONE:
    default:
        return -EOPNOTSUPP;
    }
    return rc < 0 ? -errno : 0;
}

/* The number at the start of a file, or how many lines it has. */
static size_t vm_proc_number(const char *path, bool lines, size_t otherwise)
{
    char text[1024];
    size_t number = 0;
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return otherwise;
    while ((n = zk__sys_read(fd, text, sizeof text)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (lines)
                number += text[i] == '\n';
            else if (text[i] >= '0' && text[i] <= '9')
                number = number * 10 + (size_t)(text[i] - '0');
        }
    }
    zk__sys_close(fd);
    return n < 0 ? otherwise : number;
}

size_t zk__vm_guard_budget(void)
{
    size_t limit = vm_proc_number("/proc/sys/vm/max_map_count", false,
                                  VM_MAP_COUNT);
    size_t used = vm_proc_number("/proc/self/maps", true, limit / 2);
    size_t ours = used < limit ? (limit - used) / 2 : 0;

    /* Half of what is left is ours; a guard and the stack above it are two. */
    return ours / 2 > VM_GUARD_BUDGET_MIN ? ours / 2 : VM_GUARD_BUDGET_MIN;
}
