"""One connection of the MTA: callbacks in, modifications out; no policy in here.

``callbacks`` is what libmilter calls, ``negotiation`` what is asked of the MTA, ``session`` one
connection with its messages, ``effects`` what is done to a message.
"""
