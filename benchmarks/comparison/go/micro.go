// SPDX-License-Identifier: MIT

package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// yield: two goroutines give way to each other n times each.
func yield(o *options) {
	n := o.count(5000000)
	var wg sync.WaitGroup
	start := time.Now()
	for i := 0; i < 2; i++ {
		wg.Add(1)
		go func() {
			for k := 0; k < n; k++ {
				runtime.Gosched()
			}
			wg.Done()
		}()
	}
	wg.Wait()
	o.print("yield", perOp(time.Since(start), 2*n), "ns/switch")
}

// spawn: start one and wait for it, n times.
func spawn(o *options) {
	n := o.count(2000000)
	ran := 0
	var wg sync.WaitGroup
	start := time.Now()
	for i := 0; i < n; i++ {
		wg.Add(1)
		go func() {
			ran++
			wg.Done()
		}()
		wg.Wait()
	}
	d := time.Since(start)
	check(ran == n, "spawn: lost a goroutine")
	o.print("spawn", perOp(d, n), "ns/op")
}

func spawnmanyRound(n int) time.Duration {
	var wg sync.WaitGroup
	start := time.Now()
	wg.Add(n)
	for i := 0; i < n; i++ {
		go wg.Done()
	}
	wg.Wait()
	return time.Since(start)
}

// spawnmany: start n, wait for all.
func spawnmany(o *options) {
	n := o.count(1000000)
	o.print("spawnmany_first", perOp(spawnmanyRound(n), n), "ns/op")
	o.print("spawnmany", perOp(spawnmanyRound(n), n), "ns/op")
}

func skynetNode(first, size int) int {
	if size == 1 {
		return first
	}
	var wg sync.WaitGroup
	var part [10]int
	wg.Add(10)
	for i := range part {
		go func(i int) {
			part[i] = skynetNode(first+i*(size/10), size/10)
			wg.Done()
		}(i)
	}
	wg.Wait()
	sum := 0
	for _, p := range part {
		sum += p
	}
	return sum
}

func skynetChanNode(out chan<- int, first, size int) {
	if size == 1 {
		out <- first
		return
	}
	in := make(chan int)
	for i := 0; i < 10; i++ {
		go skynetChanNode(in, first+i*(size/10), size/10)
	}
	sum := 0
	for i := 0; i < 10; i++ {
		sum += <-in
	}
	out <- sum
}

// skynetRun reports the second of two runs; n is a power of ten.
func skynetRun(o *options, figure string, run func(n int) int) {
	n := o.count(1000000)
	check(run(n) == n*(n-1)/2, "skynet: wrong sum")
	start := time.Now()
	sum := run(n)
	d := time.Since(start)
	check(sum == n*(n-1)/2, "skynet: wrong sum")
	o.print(figure, float64(d.Nanoseconds())/1e6, "ms")
}

func skynet(o *options) {
	skynetRun(o, "skynet", func(n int) int { return skynetNode(0, n) })
}

func skynetChan(o *options) {
	skynetRun(o, "skynet_chan", func(n int) int {
		out := make(chan int)
		go skynetChanNode(out, 0, n)
		return <-out
	})
}

const sleepRounds = 5

func sleepRound(o *options, n int, suffix string) {
	var wg sync.WaitGroup
	var late atomic.Int64
	start, used := time.Now(), cpu()
	wg.Add(n)
	for k := 0; k < n; k++ {
		go func(k int) {
			var sum time.Duration
			for r := 0; r < sleepRounds; r++ {
				span := time.Duration(1+(k*7919+r*104729)%200) *
					time.Millisecond
				due := time.Now().Add(span)
				time.Sleep(span)
				sum += time.Since(due)
			}
			late.Add(int64(sum))
			wg.Done()
		}(k)
	}
	wg.Wait()
	wall, used := time.Since(start), cpu()-used
	o.print("sleep_wall"+suffix, float64(wall.Nanoseconds())/1e6, "ms")
	o.print("sleep_cpu"+suffix, float64(used.Nanoseconds())/1e6, "ms")
	o.print("sleep_late"+suffix, float64(late.Load())/1e3/
		float64(n*sleepRounds), "us")
}

// sleep: n goroutines sleep five times; once cold, once warm.
func sleep(o *options) {
	n := o.count(100000)
	sleepRound(o, n, "_first")
	sleepRound(o, n, "")
}

// memory is the resident set and the page tables of this process, in bytes.
func memory() (rss, pte float64) {
	text, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(text), "\n") {
		word := strings.Fields(line)
		if len(word) < 2 {
			continue
		}
		kib, _ := strconv.ParseFloat(word[1], 64)
		switch word[0] {
		case "VmRSS:":
			rss = kib * 1024
		case "VmPTE:":
			pte = kib * 1024
		}
	}
	return
}

// idle: n goroutines wait for an event that comes at the end.
func idle(o *options) {
	n := o.count(100000)
	var parked, ended sync.WaitGroup
	event := make(chan struct{})
	debug.FreeOSMemory()
	rss, pte := memory()
	start := time.Now()
	parked.Add(n)
	ended.Add(n)
	for i := 0; i < n; i++ {
		go func() {
			parked.Done()
			<-event
			ended.Done()
		}()
	}
	parked.Wait()
	d := time.Since(start)
	rssNow, pteNow := memory()
	o.print("idle_mem", (rssNow-rss)/float64(n), "bytes/task")
	o.print("idle_pte", (pteNow-pte)/float64(n), "bytes/task")
	o.print("idle_spawn", perOp(d, n), "ns/task")
	close(event)
	ended.Wait()
}
