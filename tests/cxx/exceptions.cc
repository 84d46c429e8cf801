/* SPDX-License-Identifier: MIT */
/*
 * A C++ program: the headers, and exceptions of many tasks at once. Each task
 * throws, catches, and gives way outside and inside of catch blocks; what it has
 * caught stays its own, whatever other tasks of the thread catch meanwhile.
 */
#include <zokio.h>
#include <zokio/process.h>
#include <zokio/testing.h>

#include <atomic>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

namespace {

constexpr int kTasks = 200;
constexpr int kRounds = 20;
std::atomic<int> failures{0};

void give_way(int round)
{
    int rc = round % 2 ? zk_yield() : zk_sleep_until(zk_after(ZK_US(20)));

    if (rc != 0)
        failures++;
}

/* Throws across a switch and gives way with the exception caught. */
void one_round(int id, int round)
{
    std::string mine = std::to_string(id) + "/" + std::to_string(round);

    try {
        give_way(round);
        throw std::runtime_error(mine);
    } catch (const std::exception &outer) {
        give_way(round + 1);
        try {
            throw std::logic_error(mine + " again");
        } catch (const std::logic_error &inner) {
            give_way(round);
            if (inner.what() != mine + " again")
                failures++;
        }
        if (outer.what() != mine)
            failures++;
        try {
            std::rethrow_exception(std::current_exception());
        } catch (const std::runtime_error &same) {
            if (same.what() != mine)
                failures++;
        }
    }
    if (std::current_exception() != nullptr || std::uncaught_exceptions() != 0)
        failures++;
}

int thrower(void *arg)
{
    int id = *static_cast<int *>(arg);

    for (int round = 0; round < kRounds; round++)
        one_round(id, round);
    return 0;
}

int program(void *)
{
    static int ids[kTasks];
    static zk_task_t tasks[kTasks];

    for (int i = 0; i < kTasks; i++) {
        ids[i] = i;
        if (zk_spawn(&tasks[i], nullptr, thrower, &ids[i]) != 0)
            return 1;
    }
    for (int i = 0; i < kTasks; i++)
        if (zk_join(tasks[i], nullptr, ZK_FOREVER) != 0)
            return 1;
    return failures.load();
}

} // namespace

int main()
{
    std::puts("1..2");
    for (unsigned workers = 1; workers <= 2; workers++) {
        zk_config_t config{};

        config.workers = workers;
        int wrong = zk_run(&config, program, nullptr);
        std::printf("%s %u - exceptions stay with their task on %u workers\n",
                    wrong == 0 ? "ok" : "not ok", workers, workers);
    }
    return failures.load() != 0;
}
