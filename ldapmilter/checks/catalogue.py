"""Every kind of finding there is, in the order of docs/check.md, and what they need to read."""

from __future__ import annotations

from ldapmilter.checks import (
    configuration,
    copy_targets,
    identity_settings,
    indexes,
    ldap_servers,
    lists,
    milter_socket,
    named_parties,
    policy_values,
    postfix,
    postfix_identity,
    postfix_service,
    registration,
    replicas,
    survey,
    visibility,
)

KINDS = (
    *configuration.KINDS,
    *milter_socket.KINDS,
    *ldap_servers.KINDS,
    *visibility.KINDS,
    *indexes.KINDS,
    *replicas.KINDS,
    *postfix.KINDS,
    *postfix_service.KINDS,
    *postfix_identity.KINDS,
    *identity_settings.KINDS,
    *registration.KINDS,
    *survey.KINDS,
    *policy_values.KINDS,
    *copy_targets.KINDS,
    *named_parties.KINDS,
    *lists.KINDS,
)
"""No code occurs twice; a code once released keeps its meaning."""

READS = tuple(
    sorted(
        {
            *identity_settings.READS,
            *registration.READS,
            *copy_targets.READS,
            *named_parties.READS,
            *lists.READS,
        }
    )
)
"""Attributes that the checks look at beyond what mail is decided by; hidden ones only make notes."""
