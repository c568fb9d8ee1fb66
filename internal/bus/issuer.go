package bus

import (
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"atoll/internal/core"
	"atoll/internal/identity"
)

// ErrCredentials means that a key or JWT is not what it should be.
var ErrCredentials = errors.New("bus credentials refused")

// Issuer makes the credentials of nodes. It is safe for concurrent use.
type Issuer struct {
	account string // public key
	signer  nkeys.KeyPair
	scoped  bool // the server knows the rights from the signing key's template
}

// NewIssuer returns an issuer for an account on a NATS that somebody else runs.
// seed is a plain (not scoped) signing key of that account. Rights are written
// into each JWT. Taking them back is up to whoever runs that NATS
// ("nsc revocations add-user").
func NewIssuer(account string, seed []byte) (*Issuer, error) {
	if !nkeys.IsValidPublicAccountKey(account) {
		return nil, fmt.Errorf("%w: account %.60q is not a public account key (A…)", ErrCredentials, account)
	}
	signer, err := nkeys.FromSeed(seed)
	if err != nil {
		return nil, fmt.Errorf("%w: account signing key: %w", ErrCredentials, err)
	}
	public, err := signer.PublicKey()
	if err != nil || !nkeys.IsValidPublicAccountKey(public) {
		return nil, fmt.Errorf("%w: the seed is not of an account signing key (SA…)", ErrCredentials)
	}
	return &Issuer{account: account, signer: signer}, nil
}

// IssueNode returns the JWT that lets the holder of an nkey act as one node and
// nothing else.
func (i *Issuer) IssueNode(node core.NodeID, nkeyPublic string) (string, error) {
	if err := core.CheckName("node", string(node)); err != nil {
		return "", fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	if !nkeys.IsValidPublicUserKey(nkeyPublic) {
		return "", fmt.Errorf("%w: nkey of node %s is not a public user key", ErrCredentials, node)
	}
	claims := jwt.NewUserClaims(nkeyPublic)
	claims.Name = string(node)
	claims.IssuerAccount = i.account
	if i.scoped {
		claims.SetScoped(true)
	} else {
		claims.UserPermissionLimits = nodeRights(string(node))
	}
	text, err := claims.Encode(i.signer)
	if err != nil {
		return "", fmt.Errorf("issue credentials of node %s: %w", node, err)
	}
	return text, nil
}

// nodeRights are a node's rights; name is a node's, or the server's macro.
func nodeRights(name string) jwt.UserPermissionLimits {
	r := jwt.UserPermissionLimits{
		Limits: jwt.Limits{NatsLimits: jwt.NatsLimits{
			Subs: nodeMaxSubscriptions, Data: jwt.NoLimit, Payload: MaxMessage}},
		AllowedConnectionTypes: jwt.StringList{jwt.ConnectionTypeStandard, jwt.ConnectionTypeInProcess},
	}
	r.Pub.Allow.Add(outSubject(name, ">"))
	r.Sub.Allow.Add(inSubject(name, ">"))
	return r
}

// hubRights are the hub's: the other end of every node's subjects.
func hubRights() jwt.UserPermissionLimits {
	r := jwt.UserPermissionLimits{
		Limits: jwt.Limits{NatsLimits: jwt.NatsLimits{
			Subs: jwt.NoLimit, Data: jwt.NoLimit, Payload: jwt.NoLimit}},
	}
	r.Pub.Allow.Add(inSubject("*", ">"))
	r.Sub.Allow.Add(outSubject("*", ">"))
	return r
}

// LoadCreds reads a NATS credentials file (user JWT and nkey seed).
func LoadCreds(path string) (userJWT string, nkey nkeys.KeyPair, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", nil, fmt.Errorf("read NATS credentials: %w", err)
	}
	if userJWT, err = jwt.ParseDecoratedJWT(text); err != nil {
		return "", nil, fmt.Errorf("%w: %s: %w", ErrCredentials, path, err)
	}
	if nkey, err = jwt.ParseDecoratedUserNKey(text); err != nil {
		return "", nil, fmt.Errorf("%w: %s: %w", ErrCredentials, path, err)
	}
	return userJWT, nkey, nil
}

// authority is all the keys of an embedded server, kept in the hub's directory.
type authority struct {
	operator, system, account, nodes nkeys.KeyPair

	operatorPub, systemPub, accountPub, nodesPub string
}

func loadAuthority(dir string) (*authority, error) {
	a := &authority{}
	for _, k := range []struct {
		name   string
		role   nkeys.PrefixByte
		pair   *nkeys.KeyPair
		public *string
	}{
		{"bus-operator", nkeys.PrefixByteOperator, &a.operator, &a.operatorPub},
		{"bus-system", nkeys.PrefixByteAccount, &a.system, &a.systemPub},
		{"bus-account", nkeys.PrefixByteAccount, &a.account, &a.accountPub},
		{"bus-nodes", nkeys.PrefixByteAccount, &a.nodes, &a.nodesPub},
	} {
		pair, err := identity.LoadOrCreateNkey(dir, k.name, k.role)
		if err != nil {
			return nil, fmt.Errorf("bus keys: %w", err)
		}
		if *k.public, err = pair.PublicKey(); err != nil {
			return nil, fmt.Errorf("bus key %s: %w", k.name, err)
		}
		*k.pair = pair
	}
	return a, nil
}

// accountClaims describes Atoll's account with the nodes' scoped signing key.
func (a *authority) accountClaims() *jwt.AccountClaims {
	scope := jwt.NewUserScope()
	scope.Key, scope.Role = a.nodesPub, "node"
	scope.Template = nodeRights(nameMacro)
	claims := jwt.NewAccountClaims(a.accountPub)
	claims.Name = "atoll"
	claims.SigningKeys.AddScopedSigner(scope)
	return claims
}

// issueHub returns credentials for the hub itself, for this process only.
func (a *authority) issueHub() (userJWT string, nkey nkeys.KeyPair, err error) {
	if nkey, err = nkeys.CreateUser(); err != nil {
		return "", nil, fmt.Errorf("hub credentials: %w", err)
	}
	public, err := nkey.PublicKey()
	if err != nil {
		return "", nil, fmt.Errorf("hub credentials: %w", err)
	}
	claims := jwt.NewUserClaims(public)
	claims.Name = "hub"
	claims.UserPermissionLimits = hubRights()
	if userJWT, err = claims.Encode(a.account); err != nil {
		return "", nil, fmt.Errorf("hub credentials: %w", err)
	}
	return userJWT, nkey, nil
}
