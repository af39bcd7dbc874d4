// Package kserve has models run by a server of the Open Inference Protocol (KServe v2) over gRPC, such as Triton, on tensors in
// judemap's segments and streams.
//
// Where the server sees this machine's /dev/shm and has the extension system_shared_memory, it reads and writes the segments
// and slots themselves, and only their names and offsets cross the wire. Else the same call sends the bytes.
package kserve

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/judemap/judemap/examples/triton/kserve/inference"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
)

// Errors, for errors.Is. Errors of the server itself, such as an unknown model, wrap a gRPC status: see status.Code.
var (
	// ErrUnreachable: no server could be reached, and so none was asked.
	ErrUnreachable = errors.New("kserve: no server can be reached")
	// ErrServerGone: the server went away in the middle of the call. The call is not repeated, since a model may have a state.
	ErrServerGone = errors.New("kserve: the server went away in the middle of the call")
	// ErrResponse: what the server answered is not what the outputs are to hold.
	ErrResponse = errors.New("kserve: unexpected response")
	// ErrChanged: an input was overwritten while the server may have read it, so that the outputs mean nothing.
	ErrChanged = errors.New("kserve: an input was overwritten during the call")
	// ErrNotShared: a tensor can't go through shared memory, and WithSharedOnly forbids to send its bytes.
	ErrNotShared = errors.New("kserve: not in shared memory")
	// ErrClosed: the Client was closed.
	ErrClosed = errors.New("kserve: the client is closed")
)

// A Client asks one or several servers, in turn. Its methods may be called from any goroutine.
type Client struct {
	servers []*server
	next    atomic.Uint64 // the server whose turn it is, modulo their number

	mu     sync.Mutex
	closed bool
	calls  int // under way, also those that nobody waits for any more
}

type options struct {
	bytes      bool
	sharedOnly bool
	dial       []grpc.DialOption
}

// An Option changes what [New] makes.
type Option func(*options)

// WithBytes has all tensors sent as bytes, also to a server that could share memory.
func WithBytes() Option { return func(o *options) { o.bytes = true } }

// WithSharedOnly has [Client.Infer] fail with [ErrNotShared] where it would send bytes.
func WithSharedOnly() Option { return func(o *options) { o.sharedOnly = true } }

// WithDialOptions adds options for gRPC's connections, such as TLS: grpc.WithTransportCredentials. Without it they are not
// encrypted.
func WithDialOptions(opts ...grpc.DialOption) Option {
	return func(o *options) { o.dial = append(o.dial, opts...) }
}

// New makes a Client of the servers at these addresses, as in "127.0.0.1:8001", which take turns. It connects when there is
// something to ask. Error: an address that can't be one.
func New(addresses []string, opts ...Option) (*Client, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	if len(addresses) == 0 {
		return nil, errors.New("kserve: no server's address")
	}
	if o.bytes && o.sharedOnly {
		return nil, errors.New("kserve: WithBytes and WithSharedOnly leave no way for a tensor")
	}
	dial := append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		// gRPC's own limit, 4 MiB, is below many a tensor. The protocol's messages have no other than 2 GiB.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)),
		// A server that was started again is found within 2 s; gRPC would take 2 minutes.
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: 5 * time.Second,
			Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second}}),
		grpc.WithDisableRetry(),
	}, o.dial...)
	c := new(Client)
	for _, address := range addresses {
		conn, err := grpc.NewClient(address, dial...)
		if err != nil {
			_ = c.Close()
			return nil, fmt.Errorf("kserve: server %q: %w", address, err)
		}
		c.servers = append(c.servers, &server{address: address, conn: conn, rpc: inference.NewGRPCInferenceServiceClient(conn),
			options: &o, regions: map[fileID]*region{}})
	}
	return c, nil
}

// Ready waits until every server says that it is ready, and has the model ready, or ctx ends.
func (c *Client) Ready(ctx context.Context, model string) error {
	if err := c.begin(); err != nil {
		return err
	}
	defer c.end()
	for _, s := range c.servers {
		for {
			response, err := s.rpc.ModelReady(ctx, &inference.ModelReadyRequest{Name: model}, grpc.WaitForReady(true))
			if err == nil && response.GetReady() {
				break
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				if err != nil {
					return fmt.Errorf("kserve: server %s, model %q is not ready: %w: %w", s.address, model, ctx.Err(), err)
				}
				return fmt.Errorf("kserve: server %s, model %q is not ready: %w", s.address, model, ctx.Err())
			}
		}
	}
	return nil
}

// Close ends the use of c: later calls get [ErrClosed]. What was registered with the servers is unregistered, and the
// connections are closed, when the last call under way has ended; of calls whose context has ended that is when the server has
// answered. Closing again does nothing. The error is always nil.
func (c *Client) Close() error {
	c.mu.Lock()
	last := !c.closed && c.calls == 0
	c.closed = true
	c.mu.Unlock()
	if last {
		c.release()
	}
	return nil
}

// begin counts a call as under way, until end.
func (c *Client) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	c.calls++
	return nil
}

func (c *Client) end() {
	c.mu.Lock()
	c.calls--
	last := c.closed && c.calls == 0
	c.mu.Unlock()
	if last {
		c.release()
	}
}

func (c *Client) release() {
	// A server that doesn't answer must not keep the program: its memory goes with it in any case.
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for _, s := range c.servers {
		s.unregisterAll(ctx)
		_ = s.conn.Close() // the error says that it was closed already
	}
}

// A server is one of a Client's.
type server struct {
	address string
	conn    *grpc.ClientConn
	rpc     inference.GRPCInferenceServiceClient
	options *options

	mu        sync.Mutex
	described bool               // whether it said
	maps      bool               // that it has the extension for shared memory
	regions   map[fileID]*region // what the server was asked to map
	scratch   []*scratch         // those that no call uses
	noScratch error              // why there can be none
}

// wait returns 0 if there is a connection, and else 1, and has gRPC make one.
func (s *server) wait() int {
	if s.conn.GetState() == connectivity.Ready {
		return 0
	}
	s.conn.Connect()
	return 1
}

// connected waits until there is a connection, and says why if none can be had.
func (s *server) connected(ctx context.Context) error {
	for {
		switch state := s.conn.GetState(); state {
		case connectivity.Ready:
			return nil
		case connectivity.TransientFailure, connectivity.Shutdown:
			// A state says nothing of its reason, but a call that fails for it does.
			_, err := s.rpc.ServerReady(ctx, &inference.ServerReadyRequest{})
			return err
		default:
			s.conn.Connect()
			if !s.conn.WaitForStateChange(ctx, state) {
				return ctx.Err()
			}
		}
	}
}
