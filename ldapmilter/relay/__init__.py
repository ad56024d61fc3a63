"""The copy relay: takes copies from Postfix by LMTP, hands them on, and says of each what became of it."""
