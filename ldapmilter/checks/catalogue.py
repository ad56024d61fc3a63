"""Every kind of finding there is, in the order of docs/check.md, and what they need to read."""

from __future__ import annotations

from ldapmilter.checks import (
    acceptance,
    automatic_mail,
    betraying_targets,
    configuration,
    copy_targets,
    daemon_status,
    following,
    forwards,
    identity_settings,
    indexes,
    ldap_servers,
    lists,
    log_rotation,
    mailing_lists,
    milter_socket,
    named_parties,
    other_milters,
    policy_values,
    postfix,
    postfix_copies,
    postfix_identity,
    postfix_service,
    registration,
    relay_domain,
    relay_files,
    relay_route,
    relay_servers,
    relay_targets,
    reload,
    replicas,
    replying_targets,
    service_logins,
    survey,
    visibility,
)

KINDS = (
    *acceptance.KINDS,
    *configuration.KINDS,
    *log_rotation.KINDS,
    *reload.KINDS,
    *milter_socket.KINDS,
    *daemon_status.KINDS,
    *ldap_servers.KINDS,
    *visibility.KINDS,
    *indexes.KINDS,
    *following.KINDS,
    *replicas.KINDS,
    *postfix.KINDS,
    *other_milters.KINDS,
    *postfix_service.KINDS,
    *postfix_copies.KINDS,
    *postfix_identity.KINDS,
    *relay_domain.KINDS,
    *relay_files.KINDS,
    *relay_route.KINDS,
    *relay_servers.KINDS,
    *identity_settings.KINDS,
    *automatic_mail.KINDS,
    *service_logins.KINDS,
    *registration.KINDS,
    *survey.KINDS,
    *policy_values.KINDS,
    *copy_targets.KINDS,
    *relay_targets.KINDS,
    *replying_targets.KINDS,
    *betraying_targets.KINDS,
    *named_parties.KINDS,
    *forwards.KINDS,
    *lists.KINDS,
    *mailing_lists.KINDS,
)
"""No code occurs twice; a code once released keeps its meaning."""

OF_VALUES = frozenset(
    kind.code
    for kind in (
        identity_settings.ENVELOPE_UNRESTRICTED,
        identity_settings.ANY_FROM,
        *policy_values.KINDS,
        *copy_targets.KINDS,
        *relay_targets.KINDS,
        *replying_targets.KINDS,
        *betraying_targets.KINDS,
        *named_parties.KINDS,
        *forwards.KINDS,
        *lists.KINDS,
        mailing_lists.UNALIGNED,
        mailing_lists.REPLY_TO,
        mailing_lists.VERIFIER,
    )
)
"""The codes that ``--directory`` looks for; some of them are found by it alone."""

READS = tuple(
    sorted(
        {
            *identity_settings.READS,
            *automatic_mail.READS,
            *registration.READS,
            *replying_targets.READS,
            *named_parties.READS,
            *lists.READS,
            *mailing_lists.READS,
        }
    )
)
"""Attributes that the checks look at beyond what mail is decided by; hidden ones only make notes."""
