/*
 * The yardsticks: milters on libmilter that do nothing, or nothing but one thing.
 *
 *     noop CONNECTION eom|data|all
 *     noop CONNECTION copy ADDRESS COUNT
 *     noop CONNECTION from FIELD-BODY
 *
 * "eom" asks for the end of the message and for nothing else: libmilter then tells the MTA to leave
 * out every step before it. "all" takes every step and answers each one: what a milter costs that
 * never looked at the negotiation. Both answer SMFIS_CONTINUE to whatever they are asked.
 *
 * "data" takes the steps that ldapmilter takes: CONNECT, MAIL and RCPT without a reply, and
 * SMFIS_ACCEPT at DATA. It is what ldapmilter would cost if the rest of it cost nothing.
 *
 * "copy" is "eom" that adds COUNT recipients with NOTIFY=NEVER (RFC 3461): ADDRESS, and with COUNT above 1
 * numbers before it. "from" is "eom" that puts another From. Neither has looked at the message.
 */
#include <libmilter/mfapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *address)
{
    (void)ctx, (void)host, (void)address;
    return SMFIS_CONTINUE;
}

static sfsistat on_text(SMFICTX *ctx, char *text)
{
    (void)ctx, (void)text;
    return SMFIS_CONTINUE;
}

static sfsistat on_unknown(SMFICTX *ctx, const char *text)
{
    (void)ctx, (void)text;
    return SMFIS_CONTINUE;
}

static sfsistat on_path(SMFICTX *ctx, char **arguments)
{
    (void)ctx, (void)arguments;
    return SMFIS_CONTINUE;
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value)
{
    (void)ctx, (void)name, (void)value;
    return SMFIS_CONTINUE;
}

static sfsistat on_step(SMFICTX *ctx)
{
    (void)ctx;
    return SMFIS_CONTINUE;
}

static sfsistat on_body(SMFICTX *ctx, unsigned char *chunk, size_t size)
{
    (void)ctx, (void)chunk, (void)size;
    return SMFIS_CONTINUE;
}

/* What libmilter wants where no reply was agreed on; of anything else it complains to syslog. */
static sfsistat on_silent_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *address)
{
    (void)ctx, (void)host, (void)address;
    return SMFIS_NOREPLY;
}

static sfsistat on_silent_path(SMFICTX *ctx, char **arguments)
{
    (void)ctx, (void)arguments;
    return SMFIS_NOREPLY;
}

static sfsistat on_silent_step(SMFICTX *ctx)
{
    (void)ctx;
    return SMFIS_NOREPLY;
}

static sfsistat on_data(SMFICTX *ctx)
{
    (void)ctx;
    return SMFIS_ACCEPT;
}

static sfsistat on_negotiate(SMFICTX *ctx, unsigned long actions, unsigned long steps, unsigned long rest1,
                             unsigned long rest2, unsigned long *wanted_actions, unsigned long *wanted_steps,
                             unsigned long *wanted1, unsigned long *wanted2)
{
    (void)ctx, (void)actions, (void)rest1, (void)rest2;
    *wanted_actions = 0;
    *wanted_steps = (SMFIP_NOHELO | SMFIP_NOUNKNOWN | SMFIP_NOBODY | SMFIP_NR_CONN | SMFIP_NR_MAIL | SMFIP_NR_RCPT |
                     SMFIP_NR_EOH | SMFIP_SKIP) &
                    steps;
    *wanted1 = *wanted2 = 0;
    return SMFIS_CONTINUE;
}

static const char *wanted_value;
static long wanted_count;

static sfsistat on_copying_eom(SMFICTX *ctx)
{
    char address[512];

    for (long number = 0; number < wanted_count; number++) {
        if (wanted_count == 1)
            snprintf(address, sizeof address, "<%s>", wanted_value);
        else
            snprintf(address, sizeof address, "<%ld%s>", number, wanted_value);
        if (smfi_addrcpt_par(ctx, address, "NOTIFY=NEVER") != MI_SUCCESS)
            return SMFIS_TEMPFAIL;
    }
    return SMFIS_CONTINUE;
}

static sfsistat on_rewriting_eom(SMFICTX *ctx)
{
    return smfi_chgheader(ctx, "From", 1, (char *)wanted_value) == MI_SUCCESS ? SMFIS_CONTINUE : SMFIS_TEMPFAIL;
}

int main(int argc, char **argv)
{
    struct smfiDesc milter = {.xxfi_name = "noop", .xxfi_version = SMFI_VERSION, .xxfi_eom = on_step};

    if (argc == 5 && strcmp(argv[2], "copy") == 0) {
        wanted_value = argv[3];
        wanted_count = strtol(argv[4], NULL, 10);
        milter.xxfi_flags = SMFIF_ADDRCPT_PAR;
        milter.xxfi_eom = on_copying_eom;
    } else if (argc == 4 && strcmp(argv[2], "from") == 0) {
        wanted_value = argv[3];
        milter.xxfi_flags = SMFIF_CHGHDRS;
        milter.xxfi_eom = on_rewriting_eom;
    } else if (argc != 3 ||
               (strcmp(argv[2], "eom") != 0 && strcmp(argv[2], "data") != 0 && strcmp(argv[2], "all") != 0)) {
        fprintf(stderr, "usage: noop CONNECTION eom|data|all\n"
                        "       noop CONNECTION copy ADDRESS COUNT\n"
                        "       noop CONNECTION from FIELD-BODY\n");
        return 2;
    }
    if (strcmp(argv[2], "all") == 0) {
        milter.xxfi_connect = on_connect;
        milter.xxfi_helo = on_text;
        milter.xxfi_envfrom = on_path;
        milter.xxfi_envrcpt = on_path;
        milter.xxfi_data = on_step;
        milter.xxfi_unknown = on_unknown;
        milter.xxfi_header = on_header;
        milter.xxfi_eoh = on_step;
        milter.xxfi_body = on_body;
    }
    if (strcmp(argv[2], "data") == 0) {
        milter.xxfi_negotiate = on_negotiate;
        milter.xxfi_connect = on_silent_connect;
        milter.xxfi_envfrom = on_silent_path;
        milter.xxfi_envrcpt = on_silent_path;
        milter.xxfi_data = on_data;
        milter.xxfi_header = on_header;
        milter.xxfi_eoh = on_silent_step;
    }
    if (smfi_setconn(argv[1]) != MI_SUCCESS || smfi_register(milter) != MI_SUCCESS || smfi_opensocket(1) != MI_SUCCESS) {
        fprintf(stderr, "noop: cannot listen on %s\n", argv[1]);
        return 1;
    }
    return smfi_main() == MI_SUCCESS ? 0 : 1;
}
