// Counts the words of files, each in a process of its own: see ../README.md.
//
//	GOOS=wasip1 GOARCH=wasm go build -o tally.wasm tally.go
//	lunatic run tally.wasm --dir some/directory::/data -- /data/a /data/b
package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
	"unsafe"
)

// What this program needs of lunatic's functions; `lunatic imports --markdown` lists all. A message
// that one sends, receives, writes or reads is the current one of the process.

//go:wasmimport lunatic::process spawn_with_message
//go:noescape
func spawn(link, config, module int64, function unsafe.Pointer, functionLen uint32,
	parameters unsafe.Pointer, parametersLen uint32, id unsafe.Pointer) int32

//go:wasmimport lunatic::process process_id
func self() uint64

//go:wasmimport lunatic::message create_data
func messageCreate(tag int64, capacity uint64)

//go:wasmimport lunatic::message write_data
//go:noescape
func messageWrite(data unsafe.Pointer, length uint32) uint32

//go:wasmimport lunatic::message read_data
//go:noescape
func messageRead(data unsafe.Pointer, length uint32) uint32

//go:wasmimport lunatic::message send
func messageSend(process uint64) int32

//go:wasmimport lunatic::message receive
//go:noescape
func messageReceive(tags unsafe.Pointer, tagCount uint32, timeoutMs uint64) int32

// own means the caller's own configuration, or module.
const own = -1

const forever = ^uint64(0)

// To a child: who asks, and which argument is its file. Back: which one, and how many.
type message struct {
	who    uint64
	number int64
}

const messageSize = uint32(unsafe.Sizeof(message{}))

func (m message) put() {
	messageCreate(0, uint64(messageSize))
	messageWrite(unsafe.Pointer(&m), messageSize)
}

func current() (m message) {
	messageRead(unsafe.Pointer(&m), messageSize)
	return m
}

// count is -1 if the file cannot be read.
func count(path string) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return -1
	}
	switch os.Getenv("TALLY_UNIT") {
	case "bytes":
		return int64(len(text))
	case "lines":
		return int64(bytes.Count(text, []byte("\n")))
	default:
		return int64(len(bytes.Fields(text)))
	}
}

func waitALittle() {
	delay, err := strconv.Atoi(os.Getenv("TALLY_DELAY_MS"))
	if err != nil {
		delay = 1
	}
	time.Sleep(time.Duration(delay) * time.Millisecond)
}

func child() {
	task := current()
	waitALittle()
	message{uint64(task.number), count(os.Args[task.number])}.put()
	messageSend(task.who)
}

func parent() int {
	names := os.Args
	if len(names) < 2 {
		fmt.Fprintln(os.Stderr, "tally: name the files")
		return 2
	}
	entry := []byte("_start")
	for at := 1; at < len(names); at++ {
		var id uint64
		message{self(), int64(at)}.put()
		if spawn(0, own, own, unsafe.Pointer(&entry[0]), uint32(len(entry)), nil, 0,
			unsafe.Pointer(&id)) != 0 {
			fmt.Fprintln(os.Stderr, "tally: no room for another process")
			return 3
		}
	}
	counts := make([]int64, len(names))
	for range names[1:] {
		messageReceive(nil, 0, forever)
		answer := current()
		counts[answer.who] = answer.number
	}
	code, total := 0, int64(0)
	for at, name := range names {
		if at == 0 {
			continue
		}
		if counts[at] < 0 {
			fmt.Fprintln(os.Stderr, "tally: cannot read", name)
			code = 1
			continue
		}
		fmt.Println(counts[at], name)
		total += counts[at]
	}
	fmt.Println(total, "in all")
	return code
}

func main() {
	// Only a child is born with a message.
	if messageReceive(nil, 0, 0) == 0 {
		child()
		return
	}
	os.Exit(parent())
}
