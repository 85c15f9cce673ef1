"""HTTP/2 without I/O (RFC 9113, RFC 7541): bytes in, calls on streams; calls on streams, bytes out.

    transport's protocol (the owner)                       exchange engine
         |  receive(data)        ^ take_output()                ^   |
         v                       |                              |   v
    +------------ server / client: how a stream begins --------------------+
    |  connection: what is received          stream: one stream, its       |
    |  endpoint: what is kept and put out            windows, what waits   |
    +----------------------------------------------------------------------+
         |                 |                        |
      frames            blocks -- memos -- heads            rendering
      settings            |_______________ hpack _______________|
      budget, errors                       huffman, static_table

    frames      bytes <-> frames, and what is wrong with a frame by itself
    hpack       header blocks <-> names and values; the dynamic table of a peer that has one
    heads       names and values -> `RequestHead`, `ResponseHead`, trailers, if they may be such
    memos       header blocks -> the same heads, remembered
    rendering   heads as HTTP/1.1 writes them -> header blocks
    blocks      the header blocks of one direction: in several frames, before and after the dynamic table is empty
    budget      how much trouble a peer may make

A connection on a transport does this:

    class Protocol(asyncio.Protocol):                       # it is the `Owner`
        connection_made      self.core = ServerConnection(self, loop.time, MyStream)      # or ClientConnection
                             write(self.core.take_output())
        data_received(data)  has_more = self.core.receive(data); write(self.core.take_output())
                             has_more: pause reading, and `receive(b"")` in the next turn of the loop
                             self.core.is_over: close the transport; `fault` says why, if the peer broke it
        output_ready()       (from within any call) schedule one write of `take_output()` for this turn
        pause_writing, resume_writing, connection_lost      tell the core

    class MyStream(Stream):                                 # it is the engine's Downstream or Upstream
        request_received, response_received, informational_received, data_received, trailers_received,
        lost, filled, drained                               what arrives; overridden
        send_head, send_data, send_trailers, reset, pause, resume                         what is done

Blocks to send come from `rendering`: `request_block` and `response_block` translate heads that `headers` made as lines,
`relayed_block` those that are relayed, `trailers_block` trailers; `hpack.encode` makes one header more, to be appended.

Timers are the owner's: `is_owed` says that something should come soon.
"""
