"""Copies that travel by the relay: what milter, relay and the verbs share."""
