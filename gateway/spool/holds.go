package spool

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// PutHold implements Store. A hold of the same address is replaced.
func (s *Local) PutHold(ctx context.Context, h Hold) error {
	h.Address = strings.ToLower(h.Address)
	if h.Address == "" {
		return fmt.Errorf("spool: hold without an address")
	}
	record, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encoding hold: %w", err)
	}
	if err := s.commit(ctx, &op{kind: opHold, id: h.Address, record: record}); err != nil {
		return fmt.Errorf("holding %s: %w", h.Address, err)
	}
	return nil
}

// Holds implements Store; they are sorted by address.
func (s *Local) Holds(ctx context.Context) ([]Hold, error) {
	var holds []Hold
	err := s.view(func(tx *bolt.Tx) error {
		return tx.Bucket(holdsBucket).ForEach(func(k, v []byte) error {
			var h Hold
			if err := json.Unmarshal(v, &h); err != nil {
				return fmt.Errorf("hold of %s: %w", k, err)
			}
			holds = append(holds, h)
			return nil
		})
	})
	return holds, err
}

// RemoveHold implements Store.
func (s *Local) RemoveHold(ctx context.Context, address string) error {
	address = strings.ToLower(address)
	var known bool
	err := s.view(func(tx *bolt.Tx) error {
		known = tx.Bucket(holdsBucket).Get([]byte(address)) != nil
		return nil
	})
	if err != nil {
		return err
	}
	if !known {
		return fmt.Errorf("%w: no hold of %s", ErrNotFound, address)
	}
	if err := s.commit(ctx, &op{kind: opUnhold, id: address}); err != nil {
		return fmt.Errorf("releasing the hold of %s: %w", address, err)
	}
	return nil
}
