/* SPDX-License-Identifier: MIT */
/* process.h - what another process has used of processor and memory. */
#ifndef LOAD_PROCESS_H
#define LOAD_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

struct process_usage {
    uint64_t cpu_ns;     /* all threads, dead ones too; exact */
    uint64_t user_ticks; /* sampled by the kernel: for the split only */
    uint64_t system_ticks;
    uint64_t resident_bytes;
    uint64_t page_table_bytes;
    uint64_t switches;   /* voluntary, of all live threads */
    uint64_t slab_bytes; /* of the whole machine */
};

/* 0, or -1 if there is no such process or it may not be read. */
int process_usage_read(pid_t pid, struct process_usage *out);

#endif
