// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
)

func listen(o *options) net.Listener {
	l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", o.port))
	check(err == nil, fmt.Sprint(err))
	return l
}

// echo: a goroutine for each connection.
func echo(o *options) {
	l := listen(o)
	for {
		c, err := l.Accept()
		check(err == nil, fmt.Sprint(err))
		go func() {
			defer c.Close()
			buf := make([]byte, 4096)
			for {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				if _, err := c.Write(buf[:n]); err != nil {
					return
				}
			}
		}()
	}
}

// serveHTTP: net/http, without the Date header that the others do not send.
func serveHTTP(o *options) {
	body := "Hello, World!"
	handler := func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header["Date"] = nil
		header["Content-Type"] = []string{"text/plain"}
		header["Content-Length"] = []string{"13"}
		io.WriteString(w, body)
	}
	server := http.Server{
		Handler:  http.HandlerFunc(handler),
		ErrorLog: log.New(io.Discard, "", 0),
	}
	check(server.Serve(listen(o)) == nil, "http")
}
