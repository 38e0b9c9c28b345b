// The work of the benches for Go. Usage: GOMAXPROCS=2 bench ROW COUNT
// It prints the lines that benches/processes/output.rs describes.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"
)

func report(row, metric string, count int, elapsed time.Duration) {
	fmt.Printf("NS %s %s %d %d\n", row, metric, count, elapsed.Nanoseconds())
}

// n goroutines that end at once; the last one to count says so.
func spawn(n int) {
	var c atomic.Int64
	done := make(chan struct{}, 1)
	t0 := time.Now()
	for i := 0; i < n; i++ {
		go func() {
			if c.Add(1) == int64(n) {
				done <- struct{}{}
			}
		}()
	}
	called := time.Since(t0)
	<-done
	total := time.Since(t0)
	report("spawn", "spawn_call", n, called)
	report("spawn", "total", n, total)
}

// Spawn one, wait for its message.
func spawnWait(n int) {
	done := make(chan struct{})
	t0 := time.Now()
	for i := 0; i < n; i++ {
		go func() { done <- struct{}{} }()
		<-done
	}
	report("spawn-wait", "latency", n, time.Since(t0))
}

type message struct {
	from chan int
	x    int
}

// n goroutines blocked in receive, each on a channel of its own as its mailbox; then one message to
// each and n replies.
func live(n int) {
	var c atomic.Int64
	ready := make(chan struct{}, 1)
	replies := make(chan int, 1024)
	runtime.GC()
	debug.FreeOSMemory()
	fmt.Println("MARK start")
	time.Sleep(300 * time.Millisecond)
	t0 := time.Now()
	boxes := make([]chan message, n)
	for i := range boxes {
		box := make(chan message, 1)
		boxes[i] = box
		go func() {
			if c.Add(1) == int64(n) {
				ready <- struct{}{}
			}
			m := <-box
			m.from <- m.x
		}()
	}
	<-ready
	blocked := time.Since(t0)
	fmt.Println("MARK blocked")
	time.Sleep(700 * time.Millisecond)
	report("live", "spawn_to_blocked", n, blocked)
	t0 = time.Now()
	// Replies are bounded, so that somebody must take them while messages are sent.
	go func() {
		for i, box := range boxes {
			box <- message{replies, i + 1}
		}
	}()
	sum := 0
	for i := 0; i < n; i++ {
		sum += <-replies
	}
	elapsed := time.Since(t0)
	if sum != n*(n+1)/2 {
		panic("sum")
	}
	report("live", "send_collect", n, elapsed)
}

// Round trips of pairs, all at once.
func pairs(row string, count, n int) {
	start, done := make(chan struct{}), make(chan struct{})
	for i := 0; i < count; i++ {
		a, b := make(chan int), make(chan int)
		go func() {
			for i := 0; i < n; i++ {
				b <- <-a
			}
		}()
		go func() {
			<-start
			for i := 0; i < n; i++ {
				a <- i
				if <-b != i {
					panic("order")
				}
			}
			done <- struct{}{}
		}()
	}
	time.Sleep(10 * time.Millisecond)
	t0 := time.Now()
	close(start)
	for i := 0; i < count; i++ {
		<-done
	}
	report(row, "rtt", n, time.Since(t0))
}

type padded struct {
	v atomic.Uint64
	_ [56]byte
}

func spin(c *padded, stop *atomic.Bool) {
	for !stop.Load() {
		c.v.Add(1)
	}
}

// Round trips of one pair for so many milliseconds, beside two endless loops.
func pingPongBusy(ms int) {
	var stop atomic.Bool
	var c [2]padded
	for i := range c {
		go spin(&c[i], &stop)
	}
	time.Sleep(50 * time.Millisecond)
	a, b := make(chan int), make(chan int)
	go func() {
		for x := range a {
			b <- x
		}
	}()
	done := make(chan struct{})
	go func() {
		t0 := time.Now()
		end := t0.Add(time.Duration(ms) * time.Millisecond)
		k := 0
		var worst time.Duration
		for {
			sent := time.Now()
			a <- k
			<-b
			k++
			back := time.Now()
			worst = max(worst, back.Sub(sent))
			if back.After(end) {
				break
			}
		}
		report("ping-pong-busy", "rtt", k, time.Since(t0))
		report("ping-pong-busy", "worst", 1, worst)
		close(done)
	}()
	<-done
	stop.Store(true)
}

// A token goes round p goroutines, so many hops.
func ring(p, hops int) {
	done := make(chan struct{})
	first := make(chan int)
	in := first
	for i := 0; i < p; i++ {
		out := make(chan int)
		if i == p-1 {
			out = first
		}
		go func(in, out chan int) {
			for {
				k := <-in
				if k == 0 {
					done <- struct{}{}
					return
				}
				out <- k - 1
			}
		}(in, out)
		in = out
	}
	t0 := time.Now()
	first <- hops
	<-done
	report("ring", "hop", hops, time.Since(t0))
}

// p goroutines send n messages together to one, over a channel of 1,024: with back-pressure, which
// is Go's way and its best figure.
func fanIn(p, n int) {
	ch := make(chan int, 1024)
	done := make(chan time.Time)
	go func() {
		for i := 0; i < n; i++ {
			<-ch
		}
		done <- time.Now()
	}()
	t0 := time.Now()
	for i := 0; i < p; i++ {
		go func() {
			for k := 0; k < n/p; k++ {
				ch <- k
			}
		}()
	}
	report("fan-in", "per_message", n, (<-done).Sub(t0))
}

// A tree of goroutines with n leaves.
func skynet(n int) {
	c := make(chan int)
	t0 := time.Now()
	go sky(c, 0, n)
	if <-c != n*(n-1)/2 {
		panic("sum")
	}
	report("skynet", "total", 1, time.Since(t0))
}

func sky(c chan int, num, size int) {
	if size == 1 {
		c <- num
		return
	}
	rc := make(chan int)
	sz := size / 10
	for i := 0; i < 10; i++ {
		go sky(rc, num+i*sz, sz)
	}
	sum := 0
	for i := 0; i < 10; i++ {
		sum += <-rc
	}
	c <- sum
}

// Four goroutines yield n times each, on two threads: each does two times as many.
func yield(n int) {
	done := make(chan struct{})
	t0 := time.Now()
	for i := 0; i < 4; i++ {
		go func() {
			for k := 0; k < n; k++ {
				runtime.Gosched()
			}
			done <- struct{}{}
		}()
	}
	for i := 0; i < 4; i++ {
		<-done
	}
	report("yield", "per_yield", 2*n, time.Since(t0))
}

// A goroutine sleeps 1 ms, over and over, beside so many endless loops.
func timer(loops, ms int) {
	var stop atomic.Bool
	c := make([]padded, loops)
	for i := range c {
		go spin(&c[i], &stop)
	}
	time.Sleep(100 * time.Millisecond)
	done := make(chan []time.Duration)
	go func() {
		var late []time.Duration
		end := time.Now().Add(time.Duration(ms) * time.Millisecond)
		for {
			before := time.Now()
			time.Sleep(time.Millisecond)
			after := time.Now()
			late = append(late, after.Sub(before)-time.Millisecond)
			if after.After(end) {
				break
			}
		}
		done <- late
	}()
	late := <-done
	stop.Store(true)
	for _, l := range late {
		fmt.Println("LATE", l.Nanoseconds())
	}
}

// A goroutine reads the times that the driver sends beside so many endless loops.
func socket(loops int) {
	var stop atomic.Bool
	c := make([]padded, loops)
	for i := range c {
		go spin(&c[i], &stop)
	}
	time.Sleep(100 * time.Millisecond)
	connection, err := net.Dial("tcp", "127.0.0.1:"+os.Getenv("BENCH_PORT"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "connecting to the sender:", err)
		os.Exit(1)
	}
	done := make(chan []int64)
	go func() {
		var late []int64
		var sent [8]byte
		for {
			if _, err := io.ReadFull(connection, sent[:]); err != nil {
				break
			}
			late = append(late, time.Now().UnixNano()-int64(binary.LittleEndian.Uint64(sent[:])))
		}
		done <- late
	}()
	late := <-done
	stop.Store(true)
	for _, l := range late {
		fmt.Println("LATE", l)
	}
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: bench ROW COUNT")
		os.Exit(2)
	}
	row := os.Args[1]
	n, err := strconv.Atoi(os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	switch row {
	case "spawn":
		spawn(n)
	case "spawn-wait":
		spawnWait(n)
	case "live":
		live(n)
	case "ping-pong":
		pairs(row, 1, n)
	case "ping-pong-2":
		pairs(row, 2, n)
	case "ping-pong-busy":
		pingPongBusy(n)
	case "ring":
		ring(1000, n)
	case "fan-in":
		fanIn(1000, n)
	case "skynet":
		skynet(n)
	case "yield":
		yield(n)
	case "timer-busy":
		timer(8, n)
	case "timer-idle":
		timer(0, n)
	case "socket-busy":
		socket(4)
	case "socket-idle":
		socket(0)
	default:
		fmt.Fprintln(os.Stderr, "no such row:", row)
		os.Exit(2)
	}
}
