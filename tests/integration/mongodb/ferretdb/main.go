// Command ferretdb serves MongoDB's wire protocol on SQLite, for tests.
//
// FerretDB's own command needs files that its release build generates; the embeddable package does
// not. Usage: ferretdb ADDRESS DIRECTORY. It ends with its standard input, so that it never
// outlives the test process that started it.
package main

import (
	"context"
	"io"
	"log"
	"log/slog"
	"os"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: ferretdb ADDRESS DIRECTORY")
	}

	server, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: os.Args[1]},
		Handler:   "sqlite",
		SQLiteURL: "file:" + os.Args[2] + "/",
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		log.Fatal(err)
	}

	ctx, stop := context.WithCancel(context.Background())

	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()

	if err = server.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
