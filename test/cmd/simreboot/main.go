// Command simreboot is the reboot command of a simulated machine: it asks the
// machine behind the socket that it is given to reboot, prints the answer and
// ends with the exit status that the answer names.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: simreboot SOCKET")
		os.Exit(2)
	}
	conn, err := net.Dial("unix", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "simreboot:", err)
		os.Exit(1)
	}
	var status int
	if _, err := fmt.Fscanf(conn, "%d\n", &status); err != nil {
		fmt.Fprintln(os.Stderr, "simreboot: the machine does not answer:", err)
		os.Exit(1)
	}
	_, _ = io.Copy(os.Stdout, conn)
	os.Exit(status)
}
