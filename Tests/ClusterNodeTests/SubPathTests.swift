// Parts of volumes: made where they are missing, and never anything outside, whatever links a container left. Needs root, as mounts do.

import CLinux
import ClusterObjects
import Glibc
import SoakLab
import Testing

@testable import ClusterNode

@Suite(.serialized) struct SubPathTests {
  private func with(_ body: (_ parts: SubPaths, _ volume: String) throws -> Void) throws {
    let root = try ScratchFolder.make("parts")
    defer { ScratchFolder.remove(root) }
    defer { Files.unmountAll(below: root) }
    try Files.makeDirectory(root + "/volume", mode: 0o777)
    try Files.makeDirectory(root + "/outside")
    try Files.write(root + "/outside/secret", "hidden")
    try body(SubPaths(podDirectory: root + "/pod"), root + "/volume")
  }

  @Test func `a part that is not there is made with the volume's own mode, and seen from both sides`() throws
  {
    try with { parts, volume in
      chmod(volume, 0o2770)
      let place = try parts.mount("a/b", of: volume, name: "v", container: "c", index: 0)
      #expect(Files.info(volume + "/a/b").map { $0.mode & 0o7777 } == 0o2770)
      try Files.write(place + "/file", "x")
      #expect(Files.readText(volume + "/a/b/file") == "x")
      // The same again, as a container that starts anew asks for it.
      #expect(try parts.mount("a/b", of: volume, name: "v", container: "c", index: 0) == place)
      #expect(Files.readText(place + "/file") == "x" && Files.mounts(below: place).count == 1)
    }
  }

  @Test func `a file is a part too, also one behind links within the volume`() throws {
    try with { parts, volume in
      try Files.makeDirectory(volume + "/..1")
      try Files.write(volume + "/..1/key", "value")
      #expect(symlink("..1", volume + "/..data") == 0 && symlink("..data/key", volume + "/key") == 0)
      let place = try parts.mount("key", of: volume, name: "v", container: "c", index: 3)
      #expect(Files.readText(place) == "value")
    }
  }

  @Test(arguments: [
    "out", "out/secret", "out/new", "up/outside", "up", "dead", "dead/x", "..", "a/../../outside", "/etc",
  ])
  func `no link and no dots lead out of the volume`(part: String) throws {
    try with { parts, volume in
      #expect(symlink(volume + "/../outside", volume + "/out") == 0)
      #expect(symlink("..", volume + "/up") == 0)
      #expect(symlink("/nowhere/at/all", volume + "/dead") == 0)
      let error = #expect(throws: MissingReference.self) {
        try parts.mount(part, of: volume, name: "v", container: "c", index: 0)
      }
      #expect(error?.message == "subPath \"\(part)\" leaves its volume")
      #expect(!Files.exists(volume + "/../outside/new") && Files.mounts(below: volume + "/../pod").isEmpty)
    }
  }

  /// A container that turns a folder into a link and back, as fast as it can: each mount is of the folder, or refused.
  @Test func `a link that comes and goes while the part is looked for leads nowhere`() async throws {
    let root = try ScratchFolder.make("parts")
    defer { ScratchFolder.remove(root) }
    defer { Files.unmountAll(below: root) }
    try Files.makeDirectory(root + "/volume/inside")
    try Files.makeDirectory(root + "/outside")
    try Files.write(root + "/outside/secret", "hidden")
    try Files.write(root + "/volume/inside/own", "mine")
    #expect(symlink(root + "/outside", root + "/volume/link") == 0)
    let turning = Task.detached {
      // rename(2) twice: what is called `part` is now the folder, now the link.
      while !Task.isCancelled {
        for name in ["inside", "link"] {
          rename("\(root)/volume/\(name)", root + "/volume/part")
          rename(root + "/volume/part", "\(root)/volume/\(name)")
        }
      }
    }
    var mounted = 0
    var index = 0
    let end = ContinuousClock.now + .seconds(60)
    // Long enough for both to have been there, on a machine that stops one of the two for a while.
    while mounted < 200, ContinuousClock.now < end {
      index += 1
      guard
        let place = try? SubPaths(podDirectory: root + "/pod").mount(
          "part", of: root + "/volume", name: "v", container: "c", index: index % 4)
      else { continue }
      mounted += 1
      #expect(!Files.exists(place + "/secret"))
    }
    turning.cancel()
    await turning.value
    #expect(mounted > 0)
    // Made where there was nothing for a moment: a folder like any other.
    #expect(Files.list(root + "/outside") == ["secret"])
  }

  @Test func `a volume becomes a group's, once or when its folder is not yet so`() throws {
    try with { _, volume in
      try Files.makeDirectory(volume + "/folder", mode: 0o700)
      try Files.write(volume + "/folder/file", "", mode: 0o600)
      #expect(symlink(volume + "/../outside/secret", volume + "/link") == 0)
      func pod(_ policy: String) -> JSON {
        ["spec": ["securityContext": ["fsGroup": 2000, "fsGroupChangePolicy": JSON(policy)]]]
      }
      func group(_ path: String) -> gid_t {
        var found = stat()
        return lstat(path, &found) == 0 ? found.st_gid : 0
      }
      try #require(VolumeOwnership(pod("Always"))).apply(volume, isReadOnly: false)
      for path in ["", "/folder", "/folder/file", "/link"] {
        #expect(group(volume + path) == 2000, "\(path)")
      }
      #expect(Files.info(volume + "/folder").map { $0.mode & 0o7777 } == 0o2770)
      #expect(Files.info(volume + "/folder/file").map { $0.mode & 0o777 } == 0o660)
      // Behind the link nothing changed.
      #expect(group(volume + "/../outside/secret") == 0)
      #expect(Files.info(volume + "/../outside/secret").map { $0.mode & 0o777 } == 0o644)
      // The folder is right: nobody looks below it.
      chown(volume + "/folder/file", 0, 0)
      try #require(VolumeOwnership(pod("OnRootMismatch"))).apply(volume, isReadOnly: false)
      #expect(group(volume + "/folder/file") == 0)
      try #require(VolumeOwnership(pod("Always"))).apply(volume, isReadOnly: true)
      #expect(group(volume + "/folder/file") == 2000)
      #expect(VolumeOwnership(["spec": [:]]) == nil)
    }
  }
}
