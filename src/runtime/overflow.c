/* SPDX-License-Identifier: MIT */
/*
 * overflow.c - the report when a task runs off its stack.
 *
 * Runs in a signal handler, on the worker's signal stack: no libc formatting, no
 * locks, no memory. It says which task, where it was started, how big its stack
 * is and what to raise, and leaves the rest to the previous handler.
 */
#include "runtime/overflow.h"

#include <string.h>

#include "context/annotate.h"
#include "scheduler/scheduler.h"

struct text {
    char bytes[512];
    size_t length;
};

static void add(struct text *t, const char *words)
{
    while (*words != '\0' && t->length < sizeof(t->bytes))
        t->bytes[t->length++] = *words++;
}

static void add_number(struct text *t, uint64_t value, unsigned base)
{
    char digits[24];
    size_t n = sizeof(digits);

    digits[--n] = '\0';
    do
        digits[--n] = "0123456789abcdef"[value % base];
    while ((value /= base) != 0);
    add(t, &digits[n]);
}

static const char *bigger_class(unsigned class_index)
{
    static const char *const next[ZK_N_STACK_CLASSES] = {
        [ZK_STACK_64K] = "ZK_STACK_256K",
        [ZK_STACK_256K] = "ZK_STACK_1M",
        [ZK_STACK_1M] = "ZK_STACK_8M",
    };

    if (class_index >= ZK_N_STACK_CLASSES || next[class_index] == NULL)
        return "no bigger class: use less stack";
    return next[class_index];
}

static void add_task(struct text *t, const struct zk_task *task)
{
    if (task == NULL) {
        add(t, "(none running)");
        return;
    }
    add_number(t, zk_atomic_load(&task->id, relaxed), 10);
    add(t, " \"");
    add(t, zk_task_name(task));
    add(t, "\", spawned at 0x");
    add_number(t, (uintptr_t)task->site, 16);
}

static bool overflow_report(uintptr_t address, uintptr_t stack_pointer)
{
    struct zk_task *task = zk__task_current();
    struct zk_stack *stack = NULL;
    struct text t = {.length = 0};

    if (zk__stack_locate(address, &stack) != ZK_STACK_PLACE_GUARD)
        return false;
    if (task != NULL && task->stack != stack)
        task = NULL;
    add(&t, "zokio: stack overflow in task ");
    add_task(&t, task);
    add(&t, ": stack of ");
    add_number(&t, zk__stack_usable(stack->class_index) >> 10, 10);
    add(&t, " KiB, used ");
    add_number(&t, ((uintptr_t)stack->top - stack_pointer) >> 10, 10);
    add(&t, " KiB. Raise zk_spawn_opts_t.stack_class or "
            "zk_config_t.stack_class (ZK_STACK_SIZE) to ");
    add(&t, bigger_class(stack->class_index));
    add(&t, "\n");
    zk__signal_write(t.bytes, t.length);
    return true;
}

int zk__overflow_install(void)
{
    if (ZK_UNDER_ASAN) /* it reports overflows itself */
        return -1;
    return zk__fault_handler_install(overflow_report);
}

void zk__overflow_remove(void)
{
    zk__fault_handler_remove();
}
