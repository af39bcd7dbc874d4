package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os/exec"
	"runtime"
	"time"

	"github.com/judemap/judemap"
	"github.com/spf13/cobra"
)

func newServeCommand() *cobra.Command {
	var address string
	var interval time.Duration
	var open bool
	var asJSON *bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Show all segments and streams on this machine in a browser, live",
		Long: `Show all segments and streams on this machine in a browser, live: what 'judemap top' shows, and of the one that is chosen the
picture (see 'judemap help export'), a histogram, the times between commits, the header, slots and readers.

It prints the address of its page and serves it until Ctrl-C. The address has a secret token in it: whoever has the token,
and may connect to this machine's own addresses, can see what you may read. The page keeps the token in a cookie. It can be
served to this machine only; over ssh, 'ssh -L PORT:127.0.0.1:PORT HOST' takes it to another one, with the same PORT.

It only reads. No writer or reader notices it, and it takes no place among a stream's readers.`,
		Example: `  judemap serve --open
  judemap serve --addr 127.0.0.1:8080`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if interval < minInterval {
				return usagef("--interval is %v, and must be at least %v", interval, minInterval)
			}
			host, port, err := loopback(address)
			if err != nil {
				return err
			}
			if _, err := judemap.List(); err != nil { // so that it is said here, and not in the browser
				return err
			}
			listener, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", net.JoinHostPort(host, port))
			if err != nil {
				return err
			}
			s := newServer(listener.Addr().(*net.TCPAddr), interval)
			page := url.URL{Scheme: "http", Host: listener.Addr().String(), Path: "/", RawQuery: "token=" + s.token}
			if *asJSON {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{"url": page.String()})
			} else {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), page.String())
			}
			if err != nil {
				listener.Close()
				return err
			}
			if open {
				page.RawQuery = "ticket=" + s.ticket(time.Now())
				if err := openBrowser(cmd.Context(), page.String()); err != nil {
					fmt.Fprintf(cmd.ErrOrStderr(), "judemap: no browser was opened: %v\n", err)
				}
			}
			return s.serve(cmd.Context(), listener)
		}),
	}
	asJSON = addJSONFlag(cmd)
	cmd.Flags().StringVar(&address, "addr", "127.0.0.1:0", "the address of this machine's own to serve at; port 0: any that is free")
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "the time from one look at all of them to the next")
	cmd.Flags().BoolVar(&open, "open", false, "open the page in the browser")
	return cmd
}

// loopback returns the parts of an address that only this machine can connect to.
func loopback(address string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(address)
	if err != nil {
		return "", "", usagef("--addr is %q, and must be HOST:PORT: %v", address, err)
	}
	if host == "localhost" {
		host = "127.0.0.1" // and not what some file or server says that it is
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return "", "", usagef("--addr is %q, and must be an address of this machine's own, such as 127.0.0.1:8080", address)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return "", "", usagef("--addr is %q, and its port can't be: %v", address, err)
	}
	return host, port, nil
}

// openBrowser opens a page in the user's browser.
func openBrowser(ctx context.Context, page string) error {
	args := []string{"xdg-open"}
	switch runtime.GOOS {
	case "darwin":
		args = []string{"open"}
	case "windows":
		args = []string{"rundll32", "url.dll,FileProtocolHandler"}
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), args[0], append(args[1:], page)...)
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // it may go on for as long as the browser does
	return nil
}
