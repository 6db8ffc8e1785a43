// A frame that a data plane is sent, told by its first bytes.

/// What a frame asks for.
enum DataPlaneOrder {
  case routes(RouteTable)
  case streams(StreamTable)
  /// Nil: one of the certificates of a table that is still to come.
  case certificates(LoadedTLS?)
  case open(IngressListener)
  case close(IngressListener)
  case word(DataPlaneWord)

  init(_ frame: [UInt8], _ certificates: inout TLSReceiver) throws(RouteTableUnreadable) {
    self =
      if frame.starts(with: RouteTable.magic) {
        .routes(try RouteTable(encoded: frame))
      } else if frame.starts(with: StreamTable.magic) {
        .streams(try StreamTable(encoded: frame))
      } else if frame.starts(with: IngressListener.openMagic) {
        .open(try IngressListener(frame: frame))
      } else if frame.starts(with: IngressListener.closeMagic) {
        .close(try IngressListener(frame: frame))
      } else if frame.starts(with: DataPlaneWord.magic) {
        .word(try DataPlaneWord(frame: frame))
      } else {
        .certificates(try certificates.take(frame))
      }
  }
}
