// SPDX-License-Identifier: MIT

//! The tokio peer: the servers and the small workloads of zkbench, with the
//! same command line and the same lines of output. One worker is tokio's
//! current_thread scheduler, more are its multi_thread one.

mod micro;
mod server;

use std::process::exit;
use tokio::runtime::{Builder, Runtime};

pub struct Options {
    pub workload: String,
    pub n: usize,
    pub workers: usize,
    pub port: u16,
    pub json: bool,
}

impl Options {
    /// The n of the command line, or the workload's own.
    pub fn count(&mut self, own: usize) -> usize {
        if self.n == 0 {
            self.n = own;
        }
        self.n
    }

    pub fn print(&self, figure: &str, value: f64, unit: &str) {
        if self.json {
            println!(
                "{{\"program\": \"tokio\", \"figure\": \"{figure}\", \
                 \"value\": {value:.3}, \"unit\": \"{unit}\", \
                 \"n\": {}, \"workers\": {}}}",
                self.n, self.workers
            );
        } else {
            println!("tokio {figure} {value:.3} {unit}");
        }
    }

    pub fn runtime(&self) -> Runtime {
        let mut builder = if self.workers == 1 {
            Builder::new_current_thread()
        } else {
            let mut b = Builder::new_multi_thread();
            b.worker_threads(self.workers);
            b
        };
        builder.enable_all().build().expect("runtime")
    }
}

fn options() -> Option<Options> {
    let mut args = std::env::args().skip(1);
    let mut o = Options {
        workload: args.next()?,
        n: 0,
        workers: std::thread::available_parallelism().map_or(1, |n| n.get()),
        port: 0,
        json: false,
    };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--json" => o.json = true,
            "--n" => o.n = args.next()?.parse().ok()?,
            "--workers" => o.workers = args.next()?.parse().ok()?,
            "--port" => o.port = args.next()?.parse().ok()?,
            _ => return None,
        }
    }
    Some(o)
}

fn main() {
    let Some(mut o) = options() else {
        eprintln!("usage: tokio-peer WORKLOAD [--n N] [--workers W] [--port P]");
        exit(2);
    };
    match o.workload.as_str() {
        "yield" => micro::yields(&mut o),
        "spawn" => micro::spawn(&mut o),
        "spawnmany" => micro::spawnmany(&mut o),
        "skynet" => micro::skynet(&mut o),
        "sleep" => micro::sleep(&mut o),
        "idle" => micro::idle(&mut o),
        "echo" => server::echo(&o),
        "http" => server::http(&o),
        other => {
            eprintln!("no such workload: {other}");
            exit(2);
        }
    }
}
