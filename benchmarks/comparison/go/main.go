// SPDX-License-Identifier: MIT

// The Go peer: the servers and the small workloads of zkbench, with the same
// command line and the same lines of output.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
)

type options struct {
	workload string
	n        int
	workers  int
	port     int
	json     bool
}

func (o *options) print(figure string, value float64, unit string) {
	if o.json {
		fmt.Printf("{\"program\": \"go\", \"figure\": \"%s\", \"value\": %.3f, "+
			"\"unit\": \"%s\", \"n\": %d, \"workers\": %d}\n",
			figure, value, unit, o.n, o.workers)
	} else {
		fmt.Printf("go %s %.3f %s\n", figure, value, unit)
	}
}

// count is the n of the command line, or the workload's own.
func (o *options) count(own int) int {
	if o.n == 0 {
		o.n = own
	}
	return o.n
}

// cpu is the processor time of this process.
func cpu() time.Duration {
	var use syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &use)
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

func perOp(d time.Duration, n int) float64 {
	return float64(d.Nanoseconds()) / float64(n)
}

func check(ok bool, what string) {
	if !ok {
		fmt.Fprintln(os.Stderr, "go:", what)
		os.Exit(1)
	}
}

var workloads = map[string]func(*options){
	"yield":       yield,
	"spawn":       spawn,
	"spawnmany":   spawnmany,
	"skynet":      skynet,
	"skynet_chan": skynetChan,
	"sleep":       sleep,
	"idle":        idle,
	"echo":        echo,
	"http":        serveHTTP,
}

func main() {
	var o options
	if len(os.Args) < 2 {
		check(false, "usage: go WORKLOAD [--n N] [--workers W] [--port P]")
	}
	o.workload = os.Args[1]
	flags := flag.NewFlagSet("go", flag.ExitOnError)
	flags.IntVar(&o.n, "n", 0, "operations; 0: the workload's own number")
	flags.IntVar(&o.workers, "workers", 0, "GOMAXPROCS; 0: all processors")
	flags.IntVar(&o.port, "port", 0, "port of the servers")
	flags.BoolVar(&o.json, "json", false, "print JSON")
	flags.Parse(os.Args[2:])
	if o.workers > 0 {
		runtime.GOMAXPROCS(o.workers)
	}
	o.workers = runtime.GOMAXPROCS(0)
	run := workloads[o.workload]
	check(run != nil, "no such workload: "+o.workload)
	run(&o)
}
