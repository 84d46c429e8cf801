/* SPDX-License-Identifier: MIT */
/* list.h - intrusive doubly linked list with a head. */
#ifndef ZK_UTILS_LIST_H
#define ZK_UTILS_LIST_H

#include "utils/compiler.h"

struct zk_list {
    struct zk_list *next, *prev;
};

ZK_INLINE void zk_list_init(struct zk_list *head)
{
    head->next = head;
    head->prev = head;
}

ZK_INLINE bool zk_list_empty(const struct zk_list *head)
{
    return head->next == head;
}

/* Before `head`: the last place. */
ZK_INLINE void zk_list_push(struct zk_list *head, struct zk_list *node)
{
    node->next = head;
    node->prev = head->prev;
    head->prev->next = node;
    head->prev = node;
}

/* `node` is in a list; its links are NULL afterwards. */
ZK_INLINE void zk_list_remove(struct zk_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = NULL;
    node->prev = NULL;
}

/* The first, taken out; NULL if there is none. */
ZK_INLINE struct zk_list *zk_list_pop(struct zk_list *head)
{
    struct zk_list *node = head->next;

    if (node == head)
        return NULL;
    zk_list_remove(node);
    return node;
}

#endif
