// SPDX-License-Identifier: MIT

use crate::Options;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

fn per_op(d: Duration, n: usize) -> f64 {
    d.as_nanos() as f64 / n as f64
}

/// Processor time of this process.
fn cpu() -> Duration {
    let mut ts = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `ts` is a valid place for the answer.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut ts) };
    assert_eq!(rc, 0);
    Duration::new(ts.tv_sec as u64, ts.tv_nsec as u32)
}

/// Two tasks give way to each other n times each.
pub fn yields(o: &mut Options) {
    let n = o.count(2_000_000);
    let d = o.runtime().block_on(async move {
        let body = move || async move {
            for _ in 0..n {
                tokio::task::yield_now().await;
            }
        };
        let start = Instant::now();
        let (a, b) = (tokio::spawn(body()), tokio::spawn(body()));
        a.await.unwrap();
        b.await.unwrap();
        start.elapsed()
    });
    o.print("yield", per_op(d, 2 * n), "ns/switch");
}

/// Start one and wait for it, n times; from a task, not from block_on().
pub fn spawn(o: &mut Options) {
    let n = o.count(2_000_000);
    let d = o.runtime().block_on(async move {
        tokio::spawn(async move {
            let start = Instant::now();
            let mut ran = 0;
            for _ in 0..n {
                ran += tokio::spawn(async { 1usize }).await.unwrap();
            }
            assert_eq!(ran, n);
            start.elapsed()
        })
        .await
        .unwrap()
    });
    o.print("spawn", per_op(d, n), "ns/op");
}

/// Counts down to zero, then wakes the one who waits.
struct Latch {
    left: AtomicUsize,
    zero: Notify,
}

impl Latch {
    fn new(n: usize) -> Arc<Latch> {
        Arc::new(Latch {
            left: AtomicUsize::new(n),
            zero: Notify::new(),
        })
    }

    fn done(&self) {
        if self.left.fetch_sub(1, std::sync::atomic::Ordering::AcqRel) == 1 {
            self.zero.notify_one();
        }
    }
}

async fn spawnmany_round(n: usize) -> Duration {
    let start = Instant::now();
    let latch = Latch::new(n);
    for _ in 0..n {
        let latch = latch.clone();
        tokio::spawn(async move { latch.done() });
    }
    latch.zero.notified().await;
    start.elapsed()
}

/// Start n, wait for all.
pub fn spawnmany(o: &mut Options) {
    let n = o.count(1_000_000);
    let (first, second) = o.runtime().block_on(async move {
        tokio::spawn(async move { (spawnmany_round(n).await, spawnmany_round(n).await) })
            .await
            .unwrap()
    });
    o.print("spawnmany_first", per_op(first, n), "ns/op");
    o.print("spawnmany", per_op(second, n), "ns/op");
}

fn skynet_node(first: usize, size: usize) -> Pin<Box<dyn Future<Output = usize> + Send>> {
    Box::pin(async move {
        if size == 1 {
            return first;
        }
        let part = size / 10;
        let children: [_; 10] =
            std::array::from_fn(|i| tokio::spawn(skynet_node(first + i * part, part)));
        let mut sum = 0;
        for child in children {
            sum += child.await.unwrap();
        }
        sum
    })
}

/// The second of two runs; n is a power of ten.
pub fn skynet(o: &mut Options) {
    let n = o.count(1_000_000);
    let d = o.runtime().block_on(async move {
        let warm = tokio::spawn(skynet_node(0, n)).await.unwrap();
        let start = Instant::now();
        let sum = tokio::spawn(skynet_node(0, n)).await.unwrap();
        let d = start.elapsed();
        assert_eq!((warm, sum), (n * (n - 1) / 2, n * (n - 1) / 2));
        d
    });
    o.print("skynet", d.as_nanos() as f64 / 1e6, "ms");
}

const SLEEP_ROUNDS: usize = 5;

async fn sleep_round(n: usize) -> [f64; 3] {
    let (start, used) = (Instant::now(), cpu());
    let latch = Latch::new(n);
    let late = Arc::new(AtomicI64::new(0));
    for k in 0..n {
        let (latch, late) = (latch.clone(), late.clone());
        tokio::spawn(async move {
            let mut sum = 0;
            for r in 0..SLEEP_ROUNDS {
                let ms = 1 + (k * 7919 + r * 104729) % 200;
                let due = Instant::now() + Duration::from_millis(ms as u64);
                tokio::time::sleep_until(due.into()).await;
                sum += due.elapsed().as_nanos() as i64;
            }
            late.fetch_add(sum, Relaxed);
            latch.done();
        });
    }
    latch.zero.notified().await;
    [
        start.elapsed().as_nanos() as f64 / 1e6,
        (cpu() - used).as_nanos() as f64 / 1e6,
        late.load(Relaxed) as f64 / 1e3 / (n * SLEEP_ROUNDS) as f64,
    ]
}

/// n tasks sleep five times; once cold, once warm.
pub fn sleep(o: &mut Options) {
    let n = o.count(100_000);
    let rounds = o.runtime().block_on(async move {
        tokio::spawn(async move { [sleep_round(n).await, sleep_round(n).await] })
            .await
            .unwrap()
    });
    for (suffix, [wall, used, late]) in ["_first", ""].iter().zip(rounds) {
        o.print(&format!("sleep_wall{suffix}"), wall, "ms");
        o.print(&format!("sleep_cpu{suffix}"), used, "ms");
        o.print(&format!("sleep_late{suffix}"), late, "us");
    }
}

/// A number of kB from /proc/self/status, in bytes.
fn status(key: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|l| l.starts_with(key)).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024.0
}

/// n tasks wait for an event that comes at the end.
pub fn idle(o: &mut Options) {
    let n = o.count(100_000);
    let (d, rss, pte) = o.runtime().block_on(async move {
        tokio::spawn(async move {
            let (rss, pte) = (status("VmRSS:"), status("VmPTE:"));
            let start = Instant::now();
            let latch = Latch::new(n);
            let event = Arc::new(Notify::new());
            for _ in 0..n {
                let (latch, event) = (latch.clone(), event.clone());
                tokio::spawn(async move {
                    latch.done();
                    event.notified().await;
                });
            }
            latch.zero.notified().await;
            let d = start.elapsed();
            (d, status("VmRSS:") - rss, status("VmPTE:") - pte)
        })
        .await
        .unwrap()
    });
    o.print("idle_mem", rss / n as f64, "bytes/task");
    o.print("idle_pte", pte / n as f64, "bytes/task");
    o.print("idle_spawn", per_op(d, n), "ns/task");
}
