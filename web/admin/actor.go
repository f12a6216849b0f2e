package admin

import "context"

// Actor is who asks for a change: the audit log names him.
type Actor struct {
	Name   string `json:"name"`             // an address, or a user of the machine
	Door   string `json:"door"`             // one of the Door values
	Remote string `json:"remote,omitempty"` // address of the network, where he comes over one
}

// The doors of an Actor.
const (
	DoorWeb     = "web"     // a page, by somebody who is signed in
	DoorSocket  = "socket"  // the unix socket of the data folder, by a user of the machine
	DoorToken   = "token"   // the HTTP API, by somebody's token
	DoorCommand = "command" // the files, while the house is at rest
	DoorLink    = "link"    // a link that proves itself, in a message
	DoorHouse   = "house"   // the house by itself
)

type actorKey struct{}

// As says on whose behalf verbs are called with the context.
func As(ctx context.Context, a Actor) context.Context { return context.WithValue(ctx, actorKey{}, a) }

// ByHouse: what is done with the context the house does by itself.
func ByHouse(ctx context.Context) context.Context { return As(ctx, house()) }

func house() Actor { return Actor{Name: "posthouse", Door: DoorHouse} }

// ActorOf is who asks; the house itself when nobody was named.
func ActorOf(ctx context.Context) Actor {
	if a, ok := ctx.Value(actorKey{}).(Actor); ok {
		return a
	}
	return house()
}
