// Pages and completions, from a description such as the argument parser prints.

import Testing

@testable import Manual

private let dump = #"""
  {"command":{"commandName":"weft","abstract":"A network.","shouldDisplay":true,"arguments":[
    {"kind":"flag","names":[{"kind":"long","name":"version"}],"shouldDisplay":true,"isOptional":true,"isRepeating":false}],
   "subcommands":[
    {"commandName":"cni","abstract":"The plugin.","shouldDisplay":true,"superCommands":["weft"],"subcommands":[
     {"commandName":"check","abstract":"Find what is wrong.","discussion":".begins with a dot.\nand goes on\nto the end with a \\","shouldDisplay":true,
      "arguments":[
       {"kind":"positional","valueName":"node","abstract":"Which one.","shouldDisplay":true,"isOptional":false,"isRepeating":true},
       {"kind":"option","names":[{"kind":"short","name":"o"},{"kind":"long","name":"output"}],"valueName":"output",
        "abstract":"How.","defaultValue":"text","allValues":["text","json"],"shouldDisplay":true,"isOptional":true,"isRepeating":false},
       {"kind":"option","names":[{"kind":"long","name":"pod-cidr"}],"valueName":"pod-cidr","abstract":"A block.",
        "shouldDisplay":true,"isOptional":true,"isRepeating":true},
       {"kind":"flag","names":[{"kind":"long","name":"hidden"}],"shouldDisplay":false,"isOptional":true,"isRepeating":false}]}]},
    {"commandName":"explain","abstract":"Follow a connection.","shouldDisplay":true},
    {"commandName":"secret","shouldDisplay":false},
    {"commandName":"help","abstract":"Help.","shouldDisplay":true}]},
   "serializationVersion":0}
  """#

@Suite struct ManualTests {
  private func weft() throws -> CommandDefinition { try #require(CommandDefinition(dump: dump)) }

  @Test func `hidden commands and arguments are left out, and help`() throws {
    let weft = try weft()
    #expect(weft.all.map(\.pageName) == ["weft", "weft-cni", "weft-cni-check", "weft-explain"])
    #expect(
      weft.subcommands[0].subcommands[0].arguments.map(\.names) == [[], ["--output", "-o"], ["--pod-cidr"]])
    #expect(CommandDefinition(dump: "{}") == nil)
    #expect(CommandDefinition(dump: "no json") == nil)
  }

  @Test func `a page says what the definition says, and no text becomes a request`() throws {
    let page = try weft().subcommands[0].subcommands[0].manualPage(version: "1.2.3")
    #expect(
      page == #"""
        .TH "WEFT\-CNI\-CHECK" 1 "" "weft 1.2.3"
        .SH NAME
        weft\-cni\-check \- Find what is wrong.
        .SH SYNOPSIS
        .nh
        .B weft cni check
        .RI [ options ]
        .I NODE ...
        .SH DESCRIPTION
        \&.begins with a dot.
        .PP
        and goes on
        to the end with a \e
        .SH ARGUMENTS
        .TP
        .I NODE
        Which one. May be given several times.
        .SH OPTIONS
        .TP
        .BI "\-\-output, \-o " "text|json"
        How. Default: text.
        .TP
        .BI "\-\-pod\-cidr " "POD\-CIDR"
        A block. May be given several times.
        .SH SEE ALSO
        .BR weft\-cni (1)

        """#)
    #expect(try weft().manualPage(version: "1").contains(".B weft cni\nThe plugin.\n"))
  }

  @Test(
    arguments: [
      ([""], ["cni\tThe plugin.", "explain\tFollow a connection."]),
      (["e"], ["explain\tFollow a connection."]),
      (["cni", ""], ["check\tFind what is wrong."]),
      (["cni", "check", "--o"], ["--output\tHow."]),
      (["cni", "check", "-o", ""], ["text", "json"]),
      (["cni", "check", "--output", "j"], ["json"]),
      (["cni", "check", "--output=j"], ["--output=json"]),
      (["cni", "check", "-o", "json", "--"], ["--pod-cidr\tA block."]),
      (["cni", "check", "--pod-cidr", "10.0.0.0/8", "--p"], ["--pod-cidr\tA block."]),
      (["cni", "check", "--", ""], []),
      (["nobody", ""], ["cni\tThe plugin.", "explain\tFollow a connection."]),
    ] as [([String], [String])])
  func `what can follow`(words: [String], expected: [String]) throws {
    #expect(try weft().completions(of: words) == expected)
  }
}
