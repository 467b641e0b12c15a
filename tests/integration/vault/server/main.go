// Command vault serves HashiCorp Vault's API with the transit engine, for tests.
//
// Vault's own command brings the clients of every cloud and database that it can talk to; what
// serves requests, checks policies, keeps keys and seals them is the same here. Usage:
//
//	vault ADDRESS DIRECTORY CERTIFICATE KEY
//
// It starts sealed, as every Vault does, and ends with its standard input, so that it never
// outlives the test process that started it.
package main

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/logical/transit"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/vault"
)

var (
	secrets = map[string]logical.Factory{"transit": transit.Factory}
	logins  = map[string]logical.Factory{"approle": approle.Factory}
)

// builtins are the plugins that this program has.
type builtins struct{}

func (builtins) factories(kind consts.PluginType) map[string]logical.Factory {
	switch kind {
	case consts.PluginTypeSecrets:
		return secrets
	case consts.PluginTypeCredential:
		return logins
	default:
		return nil
	}
}

func (b builtins) Contains(name string, kind consts.PluginType) bool {
	_, found := b.factories(kind)[name]

	return found
}

func (b builtins) Get(name string, kind consts.PluginType) (func() (any, error), bool) {
	factory, found := b.factories(kind)[name]

	return func() (any, error) { return factory, nil }, found
}

func (b builtins) Keys(kind consts.PluginType) []string {
	var names []string
	for name := range b.factories(kind) {
		names = append(names, name)
	}

	return names
}

func (b builtins) DeprecationStatus(
	name string, kind consts.PluginType,
) (consts.DeprecationStatus, bool) {
	return consts.Supported, b.Contains(name, kind)
}

func (builtins) IsBuiltinEntPlugin(string, consts.PluginType) bool {
	return false
}

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: vault ADDRESS DIRECTORY CERTIFICATE KEY")
	}

	address := os.Args[1]
	logger := hclog.New(&hclog.LoggerOptions{Name: "vault", Level: hclog.Warn, Output: os.Stderr})

	storage, err := file.NewFileBackend(map[string]string{"path": os.Args[2]}, logger)
	if err != nil {
		log.Fatal(err)
	}

	core, err := vault.NewCore(&vault.CoreConfig{
		Physical:           storage,
		StorageType:        "file",
		Logger:             logger,
		DisableMlock:       true,
		RedirectAddr:       "https://" + address,
		LogicalBackends:    secrets,
		CredentialBackends: logins,
		BuiltinRegistry:    builtins{},
	})
	if err != nil {
		log.Fatal(err)
	}

	server := &http.Server{
		Addr:              address,
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12},
		Handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{
			Core:           core,
			ListenerConfig: &configutil.Listener{Type: "tcp", Address: address},
		}),
	}

	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()

	log.Fatal(server.ListenAndServeTLS(os.Args[3], os.Args[4]))
}
