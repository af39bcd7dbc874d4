// The protocol of streams, step by step: nothing here waits. What threads and processes do at the same time is in
// stream_test.cc.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "helper.h"
#include "judemap/protocol.h"
#include "judemap/stream.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace {

using namespace helper;
using judemap::StreamProtocol;
using Reader = StreamProtocol::Reader;

jm_stream_header& header_of(const StreamProtocol& stream) {
  return *reinterpret_cast<jm_stream_header*>(stream.header());
}

std::atomic<std::uint64_t>& pins_of(const StreamProtocol& stream, std::uint32_t slot) {
  return *reinterpret_cast<std::atomic<std::uint64_t>*>(reinterpret_cast<std::byte*>(stream.slot(slot)) + 216);
}

// Commits a frame whose one element is `value`.
jm_status write(StreamProtocol* stream, std::uint64_t value = 7) {
  return stream->write(nullptr, 0, JM_UINT64, &value, sizeof value);
}

std::uint64_t value_of(const jm_tensor& frame) {
  std::uint64_t value;
  std::memcpy(&value, frame.data, sizeof value);
  return value;
}

// ---- Scripts: a step is a letter, the reader that it is of, and what comes of it.
//
//   w=S b=S      writes, or begins, the next frame in slot S; - is JM_ERR_NO_SLOT. c, a: commits, aborts it
//   jR=N lR      reader R joins, and gets number N; leaves
//   tR=F rR=F    reader R takes frame F; - is JM_ERR_EMPTY; gives frame F back
//   mR=N oR=N    reader R has missed N frames; its cursor is N
//   pS=BITS      slot S has these pins, in hexadecimal digits

class Play {
 public:
  explicit Play(StreamProtocol* stream) : stream_(stream) {}
  ~Play() {
    for (auto& reader : readers_) stream_->leave(&reader.second);
  }

  void run(const std::string& script) {
    std::istringstream words(script);
    for (std::string word; words >> word;) {
      SCOPED_TRACE(word + " of " + script);
      const std::size_t equals = word.find('=');
      const std::string who = word.substr(1, equals - 1);
      step(word[0], who.empty() ? 0 : std::stoi(who), equals == std::string::npos ? "" : word.substr(equals + 1));
      if (testing::Test::HasFailure()) return;
    }
  }

 private:
  void step(char what, int who, const std::string& expected) {
    void* data = nullptr;
    std::uint64_t length;
    jm_tensor frame = {};
    jm_status status;
    switch (what) {
      case 'w':
      case 'b':
        status = stream_->begin(nullptr, 0, JM_UINT64, &data, &length);
        ASSERT_EQ(status, expected == "-" ? JM_ERR_NO_SLOT : JM_OK);
        if (status != JM_OK) return;
        EXPECT_EQ(std::to_string(stream_->slot_of(data)), expected);
        EXPECT_EQ(stream_->slot(stream_->slot_of(data))->sequence.load() % 2, 1u);
        // An 8-byte store, of a frame that nobody may look at.
        *static_cast<std::uint64_t*>(data) = stream_->version() / 2 + 1;
        if (what == 'b') return;
        [[fallthrough]];
      case 'c':
        EXPECT_EQ(stream_->commit(), JM_OK);
        return;
      case 'a':
        EXPECT_EQ(stream_->abort(), JM_OK);
        return;
      case 'j':
        ASSERT_EQ(stream_->join(&readers_[who]), JM_OK);
        number_[who] = std::stoi(expected);
        EXPECT_EQ(header_of(*stream_).readers >> std::stoi(expected) & 1, 1u);
        return;
      case 'l':
        stream_->leave(&readers_[who]);
        return;
      case 't':
        status = stream_->take(&readers_[who], &frame);
        ASSERT_EQ(status, expected == "-" ? JM_ERR_EMPTY : JM_OK) << jm_strerror(status);
        if (status == JM_ERR_EMPTY) {
          EXPECT_EQ(frame.version, stream_->version()) << "to park on";
          return;
        }
        EXPECT_EQ(std::to_string(frame.version / 2), expected);
        EXPECT_EQ(value_of(frame), frame.version / 2);
        EXPECT_EQ(readers_[who].held()[stream_->slot_of(frame.data)], frame.version);
        held_[who].push_back(frame);
        return;
      case 'r':
        for (const jm_tensor& kept : held_[who]) {
          if (std::to_string(kept.version / 2) != expected) continue;
          EXPECT_EQ(value_of(kept), kept.version / 2) << "what was held has changed";
          stream_->release(&readers_[who], kept);
          stream_->release(&readers_[who], kept);  // a second time does nothing
        }
        return;
      case 'm':
        EXPECT_EQ(std::to_string(readers_[who].missed()), expected);
        return;
      case 'o':
        EXPECT_EQ(std::to_string(header_of(*stream_).places[number_[who]].cursor), expected);
        return;
      case 'p':
        EXPECT_EQ(pins_of(*stream_, static_cast<std::uint32_t>(who)).load(), std::stoull(expected, nullptr, 16));
        return;
      default:
        FAIL() << "no such step";
    }
  }

  StreamProtocol* stream_;
  std::map<int, Reader> readers_;
  std::map<int, int> number_;
  std::map<int, std::vector<jm_tensor>> held_;
};

constexpr std::uint32_t kNewest = 0;

TEST(StreamProtocol, Scripts) {
  const struct {
    const char* what;
    std::uint32_t policy;
    std::uint32_t slots;
    const char* script;
  } scripts[] = {
      {"newest: slots in turn, the oldest first", kNewest, 3, "w=0 w=1 w=2 w=0 w=1 w=2"},
      {"newest: two slots, the newest stays", kNewest, 2, "w=0 w=1 w=0 w=1"},
      {"newest: a slot that is held is passed over", kNewest, 3, "j0=0 w=0 t0=1 w=1 w=2 w=1 w=2 r0=1 w=0"},
      {"newest: all but the newest are held", kNewest, 3, "j0=0 w=0 t0=1 w=1 t0=2 w=2 w=- w=- r0=1 w=0 w=2"},
      {"newest: with one slot more than are held the newest is never taken", kNewest, 2,
       "j0=0 w=0 t0=1 w=1 w=- t0=2 w=- r0=2 w=- r0=1 w=0"},
      {"newest: a reader sees only what comes after it", kNewest, 3, "w=0 j0=0 t0=- w=1 t0=2 t0=- m0=0"},
      {"newest: a slow reader skips, and counts", kNewest, 4, "j0=0 w=0 w=1 w=2 t0=3 m0=2 r0=3 w=3 t0=4 m0=2"},
      {"newest: two readers of the same frame", kNewest, 3,
       "j0=0 j1=1 w=0 t0=1 t1=1 p0=3 r0=1 p0=2 w=1 w=2 w=1 r1=1 p0=0 w=0"},
      {"newest: the free slot with the oldest frame", kNewest, 4,
       "j0=0 j1=1 w=0 t0=1 w=1 t1=2 w=2 w=3 r1=2 r0=1 w=0 w=1 w=2"},
      {"every frame: the writer waits for the slowest", JM_EVERY_FRAME, 3, "j0=0 w=2 w=1 w=0 w=- t0=1 w=- r0=1 w=2"},
      {"every frame: in order, none lost", JM_EVERY_FRAME, 3,
       "j0=0 w=2 w=1 w=0 t0=1 r0=1 w=2 t0=2 r0=2 t0=3 r0=3 t0=4 m0=0 t0=-"},
      {"every frame: nobody reads", JM_EVERY_FRAME, 3, "w=2 w=1 w=0 w=1 w=0 w=2"},
      {"every frame: given back last, written first", JM_EVERY_FRAME, 4,
       "j0=0 w=3 w=2 w=1 w=0 t0=1 r0=1 t0=2 r0=2 t0=3 r0=3 w=1 w=2 w=3 w=-"},
      {"every frame: a frame gone past is free, one that is held is not", JM_EVERY_FRAME, 3,
       "j0=0 w=2 w=1 w=0 t0=1 t0=2 t0=3 r0=2 w=1 w=- r0=1 w=2 w=- t0=4 r0=3 w=0"},
      {"every frame: the slower of two readers counts", JM_EVERY_FRAME, 2,
       "j0=0 j1=1 w=1 w=0 t0=1 r0=1 w=- t1=1 w=- r1=1 w=1"},
      {"every frame: a reader that leaves frees what it wanted", JM_EVERY_FRAME, 2, "j0=0 w=1 w=0 w=- l0 w=1"},
      {"every frame: and what it held", JM_EVERY_FRAME, 2, "j0=0 w=1 w=0 t0=1 t0=2 w=- l0 w=1 p0=0 p1=0"},
      {"every frame: one that joins later wants only what comes", JM_EVERY_FRAME, 2,
       "w=1 w=0 j0=0 o0=3 w=1 t0=3 r0=3 t0=-"},
      {"cursors", JM_EVERY_FRAME, 3, "j0=0 o0=1 w=2 o0=1 t0=1 o0=2 r0=1 o0=2 w=1 j1=1 o1=3"},
      {"cursors of who skips", kNewest, 3, "j0=0 o0=1 w=0 w=1 t0=2 o0=3"},
      {"numbers are given again", kNewest, 3, "j0=0 j1=1 j2=2 l1 j3=1 l0 j4=0 j5=3"},
      {"a number's pins go with it", kNewest, 3, "j0=0 j1=1 w=0 t0=1 t1=1 l0 p0=2 j2=0 p0=2 l1 p0=0"},
      {"an abort leaves no trace: newest", kNewest, 3, "j0=0 w=0 b=1 a t0=1 t0=- m0=0 r0=1 w=1 t0=2 m0=0 w=2"},
      {"an abort leaves no trace: every frame", JM_EVERY_FRAME, 2,
       "j0=0 w=1 b=0 a t0=1 t0=- r0=1 b=0 a w=0 t0=2 m0=0 r0=2 w=1"},
      {"a commit in progress is not seen", kNewest, 3, "j0=0 b=0 t0=- c t0=1 b=1 t0=- c t0=2"},
  };
  for (const auto& s : scripts) {
    SCOPED_TRACE(s.what);
#ifdef __linux__
    const bool kinds[] = {false, true};
#else
    const bool kinds[] = {false};
#endif
    for (const bool shared : kinds) {
      SCOPED_TRACE(shared);
      StreamProtocol stream;
      ASSERT_EQ(
          shared ? stream.create_sealed(s.slots, 8, s.policy | JM_NO_HUGE_PAGES) : stream.create(s.slots, 8, s.policy),
          JM_OK);
      Play(&stream).run(s.script);
    }
  }
}

TEST(StreamProtocol, SizesAndErrors) {
  const struct {
    std::uint32_t slots;
    std::uint64_t capacity;
    std::uint32_t flags;
    jm_status status;
  } cases[] = {
      {0, 8, 0, JM_ERR_ARGUMENT},
      {1, 8, 0, JM_ERR_ARGUMENT},
      {2, 8, 0, JM_OK},
      {256, 8, 0, JM_OK},
      {257, 8, 0, JM_ERR_ARGUMENT},
      {UINT32_MAX, 8, 0, JM_ERR_ARGUMENT},
      {2, 0, 0, JM_ERR_CAPACITY},
      {2, UINT64_MAX, 0, JM_ERR_CAPACITY},
      {2, INT64_MAX, 0, JM_ERR_CAPACITY},
      {3, INT64_MAX / 2, 0, JM_ERR_CAPACITY},
      {256, (UINT64_MAX >> 9) + 1, 0, JM_ERR_CAPACITY},
      {2, 8, JM_FOREIGN_WRITERS, JM_ERR_ARGUMENT},
  };
  for (const auto& c : cases) {
    StreamProtocol stream;
    EXPECT_EQ(stream.create(c.slots, c.capacity, c.flags), c.status) << c.slots << " slots of " << c.capacity;
    if (c.status != JM_OK) continue;
    EXPECT_EQ(stream.create(c.slots, c.capacity, c.flags), JM_ERR_ARGUMENT) << "once per object";
    EXPECT_EQ(stream.slots(), c.slots);
    EXPECT_EQ(stream.capacity(), c.capacity);
    for (std::uint32_t i = 0; i < c.slots; ++i) {
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(stream.slot(i)) % 4096, 0u);
    }
  }
  StreamProtocol stream;
  ASSERT_EQ(stream.create(2, 8, JM_EVERY_FRAME), JM_OK);
  const std::uint64_t two = 2;
  std::uint64_t words[2] = {1, 2}, length;
  void* data;
  EXPECT_EQ(stream.commit(), JM_ERR_ARGUMENT);
  EXPECT_EQ(stream.abort(), JM_ERR_ARGUMENT);
  EXPECT_EQ(stream.write(&two, 1, JM_UINT64, words, 16), JM_ERR_CAPACITY);
  EXPECT_EQ(stream.write(nullptr, 0, JM_UINT64, words, 4), JM_ERR_SHAPE);
  EXPECT_EQ(stream.write(nullptr, 0, 99, words, 8), JM_ERR_DTYPE);
  EXPECT_EQ(stream.fill(nullptr, 0, JM_UINT8, 256), JM_ERR_RANGE);
  EXPECT_EQ(stream.write(nullptr, 0, JM_UINT64, nullptr, 8), JM_ERR_ARGUMENT);
  ASSERT_EQ(stream.begin(nullptr, 0, JM_UINT64, &data, &length), JM_OK);
  EXPECT_EQ(length, 8u);
  EXPECT_EQ(stream.begin(nullptr, 0, JM_UINT64, &data, &length), JM_ERR_ARGUMENT) << "a commit within a commit";
  EXPECT_EQ(write(&stream), JM_ERR_ARGUMENT);
  EXPECT_EQ(stream.abort(), JM_OK);
  EXPECT_EQ(stream.version(), 0u);
  EXPECT_EQ(stream.stats().commits, 0u);
  EXPECT_EQ(write(&stream), JM_OK);
  EXPECT_EQ(stream.stats().commits, 1u);

  Reader reader, other;
  jm_tensor frame = {};
  EXPECT_EQ(stream.take(&reader, &frame), JM_ERR_CLOSED) << "it has not joined";
  ASSERT_EQ(stream.join(&reader), JM_OK);
  EXPECT_EQ(stream.join(&reader), JM_ERR_ARGUMENT);
  ASSERT_EQ(write(&stream, 5), JM_OK);
  ASSERT_EQ(stream.take(&reader, &frame), JM_OK);

  // What is no frame of this reader is not given back.
  ASSERT_EQ(stream.join(&other), JM_OK);
  jm_tensor wrong = frame;
  wrong.version += 2;
  stream.release(&reader, wrong);
  wrong = frame;
  wrong.data = &frame;
  stream.release(&reader, wrong);
  wrong.data = nullptr;
  stream.release(&reader, wrong);
  stream.release(&other, frame);
  stream.release(&reader, jm_tensor{});
  const std::uint32_t slot = stream.slot_of(frame.data);
  EXPECT_EQ(pins_of(stream, slot).load(), 1u);
  EXPECT_EQ(reader.held()[slot], frame.version);

  stream.close();
  EXPECT_EQ(stream.take(&reader, &frame), JM_ERR_CLOSED);
  EXPECT_EQ(stream.join(&other), JM_ERR_CLOSED);
  EXPECT_EQ(write(&stream), JM_ERR_CLOSED);
  std::uint32_t seen;
  EXPECT_EQ(stream.announce_writer(&seen), JM_ERR_CLOSED);
  EXPECT_EQ(stream.park_writer(0, -1), JM_ERR_CLOSED);
  EXPECT_EQ(stream.try_read(0, &frame), JM_ERR_CLOSED);
  jm_reader_info infos[JM_STREAM_READERS];
  EXPECT_EQ(stream.places(infos, true), 0u);
  stream.release(&reader, frame);
  stream.leave(&reader);
}

// 64 readers, and no more; over all handles.
TEST(StreamProtocol, Places) {
  StreamProtocol stream;
  ASSERT_EQ(stream.create(2, 8, 0), JM_OK);
  std::array<Reader, JM_STREAM_READERS> readers;
  Reader late;
  for (Reader& reader : readers) ASSERT_EQ(stream.join(&reader), JM_OK);
  EXPECT_EQ(header_of(stream).readers, UINT64_MAX);
  EXPECT_EQ(stream.join(&late), JM_ERR_NO_PLACE);
  ASSERT_EQ(write(&stream), JM_OK);
  jm_tensor frame;
  for (Reader& reader : readers) ASSERT_EQ(stream.take(&reader, &frame), JM_OK);
  EXPECT_EQ(pins_of(stream, stream.slot_of(frame.data)), UINT64_MAX);
  jm_reader_info infos[JM_STREAM_READERS];
  ASSERT_EQ(stream.places(infos, true), JM_STREAM_READERS);
  for (std::uint32_t i = 0; i < JM_STREAM_READERS; ++i) {
    EXPECT_EQ(infos[i].number, i);
    EXPECT_EQ(infos[i].held, 1u);
    EXPECT_EQ(infos[i].cursor, 2u);
    EXPECT_EQ(infos[i].dead, 0u);
    EXPECT_NE(infos[i].process, 0u);
  }
  stream.leave(&readers[17]);
  EXPECT_EQ(stream.join(&late), JM_OK);
  EXPECT_EQ(header_of(stream).readers, UINT64_MAX);
  for (Reader& reader : readers) stream.leave(&reader);
  stream.leave(&late);
  EXPECT_EQ(header_of(stream).readers, 0u);
  EXPECT_EQ(pins_of(stream, 0), 0u);
  EXPECT_EQ(pins_of(stream, 1), 0u);
}

// Who gives a slot back, or goes past a frame, or leaves, wakes a writer that has said that it waits.
TEST(StreamProtocol, AWriterThatWaitsIsWoken) {
  const struct {
    const char* what;
    std::uint32_t policy;
    void (*free)(StreamProtocol*, Reader*, const jm_tensor&);
    jm_status after;
  } cases[] = {
      {"release, newest", kNewest, [](StreamProtocol* s, Reader* r, const jm_tensor& f) { s->release(r, f); }, JM_OK},
      {"release, every frame", JM_EVERY_FRAME,
       [](StreamProtocol* s, Reader* r, const jm_tensor& f) { s->release(r, f); }, JM_OK},
      {"leave, newest", kNewest, [](StreamProtocol* s, Reader* r, const jm_tensor&) { s->leave(r); }, JM_OK},
      {"leave, every frame", JM_EVERY_FRAME, [](StreamProtocol* s, Reader* r, const jm_tensor&) { s->leave(r); },
       JM_OK},
      {"close", kNewest, [](StreamProtocol* s, Reader*, const jm_tensor&) { s->close(); }, JM_ERR_CLOSED},
      {"wake", kNewest, [](StreamProtocol* s, Reader*, const jm_tensor&) { s->wake_writer(); }, JM_ERR_NO_SLOT},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    StreamProtocol stream;
    ASSERT_EQ(stream.create(2, 8, c.policy), JM_OK);
    Reader reader;
    ASSERT_EQ(stream.join(&reader), JM_OK);
    jm_tensor frame;
    std::uint32_t seen;
    ASSERT_EQ(write(&stream), JM_OK);
    ASSERT_EQ(stream.take(&reader, &frame), JM_OK);
    ASSERT_EQ(write(&stream), JM_OK);
    ASSERT_EQ(write(&stream), JM_ERR_NO_SLOT);
    EXPECT_EQ(header_of(stream).writer_waits, 0u);
    ASSERT_EQ(stream.announce_writer(&seen), JM_ERR_NO_SLOT);
    EXPECT_EQ(header_of(stream).writer_waits, 1u);
    EXPECT_EQ(header_of(stream).released, seen);
    c.free(&stream, &reader, frame);
    EXPECT_NE(header_of(stream).released, seen) << "the writer would sleep";
    const Clock::time_point start = Clock::now();
    EXPECT_EQ(stream.park_writer(seen, kSecond), c.after == JM_ERR_CLOSED ? JM_ERR_CLOSED : JM_OK);
    EXPECT_LT(Clock::now() - start, milliseconds(35)) << "it slept";
    EXPECT_EQ(stream.announce_writer(&seen), c.after);
    EXPECT_EQ(write(&stream), c.after);
    // With nobody waiting, giving back wakes nobody.
    header_of(stream).writer_waits = 0;
    const std::uint32_t released = header_of(stream).released;
    if (stream.take(&reader, &frame) == JM_OK) stream.release(&reader, frame);
    EXPECT_EQ(header_of(stream).released, released);
    stream.leave(&reader);
  }
}

// Steps that only fall between others when two are at it: the words are set as the other would leave them.

// A reader that loaded an old number finds a later frame in the slot, or the writer.
TEST(StreamProtocol, AReaderThatComesLate) {
  StreamProtocol stream;
  ASSERT_EQ(stream.create(3, 8, 0), JM_OK);
  Reader reader;
  ASSERT_EQ(stream.join(&reader), JM_OK);
  for (std::uint64_t i = 1; i <= 4; ++i) ASSERT_EQ(write(&stream, i), JM_OK);  // frame 4 is in slot 0
  jm_tensor frame;
  // As if `sequence` had been loaded when frame 2 was the newest, and the table's entry, now of frame 4, after that.
  header_of(stream).sequence = 2 * 1;
  ASSERT_EQ(stream.take(&reader, &frame), JM_ERR_CORRUPT) << "frame 4 is further than a writer gets in one commit";
  EXPECT_EQ(pins_of(stream, 0), 0u);
  header_of(stream).sequence = 2 * 3;
  header_of(stream).table[0] = 0;  // 3 % 3
  ASSERT_EQ(stream.take(&reader, &frame), JM_OK) << "committed in the slot, and not yet in the header";
  EXPECT_EQ(frame.version, 8u);
  EXPECT_EQ(value_of(frame), 4u);
  EXPECT_EQ(stream.take(&reader, &frame), JM_ERR_EMPTY);
  header_of(stream).sequence = 2 * 4;
  EXPECT_EQ(stream.take(&reader, &frame), JM_ERR_EMPTY) << "it would have the frame twice";
  EXPECT_EQ(reader.missed(), 3u);
  // An older frame than the newest: the entry was of a frame whose slot is another by now.
  header_of(stream).sequence = 2 * 6;
  header_of(stream).table[0] = 1;  // frame 2 is there
  EXPECT_EQ(stream.take(&reader, &frame), JM_ERR_BUSY);
  EXPECT_EQ(pins_of(stream, 1), 0u);
  // The writer is in it.
  stream.slot(1)->sequence = 2 * 2 + 1;
  EXPECT_EQ(stream.take(&reader, &frame), JM_ERR_BUSY);
  EXPECT_EQ(pins_of(stream, 1), 0u);
  // A slot that the reader holds.
  header_of(stream).table[0] = 0;
  EXPECT_EQ(stream.take(&reader, &frame), JM_ERR_BUSY);
  EXPECT_EQ(pins_of(stream, 0), 1u);
}

// The second store of a cursor at joining, and the reader that is still before it.
TEST(StreamProtocol, AReaderThatJoinsIsWaitedFor) {
  StreamProtocol stream;
  ASSERT_EQ(stream.create(2, 8, JM_EVERY_FRAME), JM_OK);
  for (int i = 0; i < 11; ++i) ASSERT_EQ(write(&stream), JM_OK);
  Reader reader;
  ASSERT_EQ(stream.join(&reader), JM_OK);
  header_of(stream).places[0].cursor = 0;  // as while it joins
  EXPECT_EQ(write(&stream), JM_OK) << "the last look at the places was before";
  EXPECT_EQ(write(&stream), JM_ERR_NO_SLOT);
  jm_tensor frame;
  ASSERT_EQ(stream.take(&reader, &frame), JM_OK);
  EXPECT_EQ(frame.version, 24u);
}

// A cursor that others have changed holds up no writer for longer than until its reader looks again.
TEST(StreamProtocol, AReaderPutsItsCursorRight) {
  for (const std::uint64_t cursor : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{2}, UINT64_MAX}) {
    SCOPED_TRACE(cursor);
    StreamProtocol stream;
    ASSERT_EQ(stream.create(2, 8, JM_EVERY_FRAME), JM_OK);
    Reader reader;
    ASSERT_EQ(stream.join(&reader), JM_OK);
    jm_tensor frame;
    for (int i = 0; i < 2; ++i) {
      ASSERT_EQ(write(&stream), JM_OK);
      ASSERT_EQ(stream.take(&reader, &frame), JM_OK);
      stream.release(&reader, frame);
    }
    header_of(stream).places[0].cursor = cursor;
    EXPECT_EQ(stream.take(&reader, &frame), JM_ERR_EMPTY);
    EXPECT_EQ(header_of(stream).places[0].cursor, 3u);
    EXPECT_EQ(write(&stream), JM_OK);
  }
}

// A pin that comes between the writer's two looks.
TEST(StreamProtocol, AWriterThatFindsAPinTakesAnotherSlot) {
  StreamProtocol stream;
  ASSERT_EQ(stream.create(3, 8, 0), JM_OK);
  for (std::uint64_t i = 1; i <= 3; ++i) ASSERT_EQ(write(&stream, i), JM_OK);
  pins_of(stream, 0) = 1;
  void* data;
  std::uint64_t length;
  ASSERT_EQ(stream.begin(nullptr, 0, JM_UINT64, &data, &length), JM_OK);
  EXPECT_EQ(stream.slot_of(data), 1u);
  EXPECT_EQ(stream.slot(0)->sequence, 2u) << "nobody has written to it";
  ASSERT_EQ(stream.abort(), JM_OK);
  EXPECT_EQ(stream.slot(1)->sequence, 0u);
  pins_of(stream, 1) = 1;
  EXPECT_EQ(write(&stream), JM_ERR_NO_SLOT);
  EXPECT_EQ(stream.slot(2)->sequence, 6u) << "the newest";
  pins_of(stream, 0) = 0;
  EXPECT_EQ(write(&stream), JM_OK);
}

// The words of the header say what is in which slot, and a slot is a plain segment.
TEST(StreamProtocol, ASlotIsASegment) {
  StreamProtocol stream;
  ASSERT_EQ(stream.create(3, 100, 0), JM_OK);
  Reader reader;
  ASSERT_EQ(stream.join(&reader), JM_OK);
  const std::uint64_t shape[] = {2, 3};
  for (std::uint64_t frame = 1; frame <= 8; ++frame) {
    std::vector<std::uint16_t> values(6, static_cast<std::uint16_t>(frame));
    ASSERT_EQ(stream.write(shape, 2, JM_UINT16, values.data(), 12), JM_OK);
    jm_tensor taken;
    ASSERT_EQ(stream.take(&reader, &taken), JM_OK);
    const std::uint32_t index = header_of(stream).table[frame % 3];
    EXPECT_EQ(header_of(stream).sequence, 2 * frame);
    EXPECT_EQ(stream.slot_of(taken.data), index);
    EXPECT_EQ(pins_of(stream, index), 1u);
    // Its bytes, wherever they lie.
    alignas(jm_header) unsigned char bytes[JM_DATA_OFFSET + 100];
    std::memcpy(bytes, static_cast<void*>(stream.slot(index)), sizeof bytes);
    const auto& header = *reinterpret_cast<const jm_header*>(bytes);
    judemap::Metadata metadata;
    std::uint64_t version = 0;
    bool whole = false;
    EXPECT_EQ(judemap::read_once(header, &version, &metadata,
                                 [&](const judemap::Metadata& seen) {
                                   whole = judemap::corrupt_field(seen, 100) == nullptr &&
                                           std::memcmp(bytes + JM_DATA_OFFSET, values.data(), 12) == 0;
                                   return true;
                                 }),
              judemap::Attempt::kDone);
    EXPECT_TRUE(whole);
    EXPECT_EQ(version, 2 * frame);
    EXPECT_EQ(metadata.shape[1], 3u);
    EXPECT_EQ(header.magic, 0u);
    EXPECT_EQ(header.flags, 0u);
    EXPECT_EQ(header.waiters, 0u);
    EXPECT_EQ(header.capacity, 0u);
    stream.release(&reader, taken);
  }
}

// Reading without a place.
TEST(StreamProtocol, CopiesOfTheNewest) {
  StreamProtocol stream;
  ASSERT_EQ(stream.create(2, 16, 0), JM_OK);
  jm_tensor frame = {};
  std::uint64_t copy = 0;
  EXPECT_EQ(stream.try_read_into(0, &copy, 8, &frame), JM_ERR_EMPTY);
  EXPECT_EQ(stream.try_read(0, &frame), JM_ERR_EMPTY);
  for (std::uint64_t i = 1; i <= 3; ++i) ASSERT_EQ(write(&stream, i), JM_OK);
  EXPECT_EQ(stream.try_read_into(0, &copy, 8, &frame), JM_OK);
  EXPECT_EQ(copy, 3u);
  EXPECT_EQ(frame.version, 6u);
  EXPECT_EQ(frame.data, &copy);
  EXPECT_EQ(stream.try_read_into(4, &copy, 8, &frame), JM_OK);
  EXPECT_EQ(stream.try_read_into(6, &copy, 8, &frame), JM_ERR_EMPTY);
  EXPECT_EQ(frame.version, 6u);
  EXPECT_EQ(stream.try_read_into(0, &copy, 7, &frame), JM_ERR_BUFFER);
  EXPECT_EQ(frame.byte_length, 8u);
  EXPECT_EQ(stream.try_read(0, &frame), JM_OK);
  EXPECT_EQ(value_of(frame), 3u);
  void* data;
  std::uint64_t length;
  ASSERT_EQ(stream.begin(nullptr, 0, JM_UINT64, &data, &length), JM_OK);
  EXPECT_EQ(stream.try_read(0, &frame), JM_OK) << "the newest stays while the next is written";
  EXPECT_EQ(frame.version, 6u);
  ASSERT_EQ(stream.abort(), JM_OK);
  stream.slot(stream.slot_of(frame.data))->sequence = 8;
  EXPECT_EQ(stream.try_read(0, &frame), JM_ERR_BUSY) << "committed in the slot, and not yet in the header";
  EXPECT_EQ(stream.try_read_into(0, &copy, 8, &frame), JM_ERR_BUSY);
  header_of(stream).sequence = 8;
  header_of(stream).table[0] = header_of(stream).table[1].load();
  EXPECT_EQ(stream.try_read(0, &frame), JM_OK);
  EXPECT_EQ(frame.version, 8u);
  header_of(stream).sequence = 6;
  stream.slot(stream.slot_of(frame.data))->sequence = 7;
  EXPECT_EQ(stream.try_read(0, &frame), JM_ERR_BUSY);
  stream.slot(stream.slot_of(frame.data))->sequence = 4;
  EXPECT_EQ(stream.try_read(0, &frame), JM_ERR_BUSY);
  header_of(stream).table[1] = 2;
  EXPECT_EQ(stream.try_read(0, &frame), JM_ERR_CORRUPT);
}

#ifdef __linux__

// The bytes of the file, seen by who knows nothing but the layout.
TEST(StreamProtocol, TheFile) {
  const Name name;
  StreamProtocol stream;
  ASSERT_EQ(stream.create(name.text(), 3, 5000, 0600, JM_EVERY_FRAME), JM_OK);
  for (std::uint64_t i = 1; i <= 4; ++i) ASSERT_EQ(write(&stream, i), JM_OK);
  const File file(open(name.path().c_str(), O_RDONLY));
  const auto word = [&](off_t at) {
    std::uint64_t value = 0;
    EXPECT_EQ(pread(file.get(), &value, 8, at), 8);
    return value;
  };
  EXPECT_EQ(word(0), 8u);
  EXPECT_EQ(word(192) & UINT32_MAX, JM_STREAM_MAGIC);
  EXPECT_EQ(word(192) >> 32, JM_FLAG_WRITERS_WAKE | JM_FLAG_WRITER_ATTACHED | JM_FLAG_EVERY_FRAME);
  EXPECT_EQ(word(208), 5000u);
  EXPECT_EQ(word(216), (std::uint64_t{64} << 32) + 3);
  const std::uint64_t first = word(224), stride = word(232);
  EXPECT_EQ(first, 8192u);
  EXPECT_EQ(stride, 8192u);
  EXPECT_EQ(lseek(file.get(), 0, SEEK_END), static_cast<off_t>(first + 3 * stride));
  // Each slot, mapped alone.
  for (std::uint64_t frame = 2; frame <= 4; ++frame) {
    std::uint32_t index = 0;
    ASSERT_EQ(pread(file.get(), &index, 4, static_cast<off_t>(1024 + 4 * (frame % 3))), 4);
    if (header_of(stream).table[frame % 3] != index) ADD_FAILURE() << "table";
    void* const mapped =
        mmap(nullptr, stride, PROT_READ, MAP_SHARED, file.get(), static_cast<off_t>(first + index * stride));
    ASSERT_NE(mapped, MAP_FAILED);
    judemap::Metadata metadata;
    std::uint64_t version = 0, value = 0;
    EXPECT_EQ(judemap::read_once(*static_cast<jm_header*>(mapped), &version, &metadata,
                                 [&](const judemap::Metadata& seen) {
                                   std::memcpy(&value, static_cast<std::byte*>(mapped) + JM_DATA_OFFSET, 8);
                                   return judemap::corrupt_field(seen, 5000) == nullptr;
                                 }),
              judemap::Attempt::kDone);
    EXPECT_EQ(version / 2, value);
    munmap(mapped, stride);
  }
}

TEST(StreamProtocol, FilesThatAreNoStreams) {
  const Name name;
  const int before = descriptors();
  const struct {
    const char* what;
    off_t at;  // 8 bytes there
    std::uint64_t value;
    const char* why;
  } words[] = {
      {"a segment", 192, JM_MAGIC, "it is a segment"},
      {"a plain segment", 192, 0, "it is a segment"},
      {"another magic number", 192, JM_STREAM_MAGIC + 1, "magic"},
      {"no slot", 216, std::uint64_t{64} << 32, "fewer than 2"},
      {"one slot", 216, (std::uint64_t{64} << 32) + 1, "fewer than 2"},
      {"more slots than can be", 216, (std::uint64_t{64} << 32) + 257, "more than 256"},
      {"more slots than there are", 216, (std::uint64_t{64} << 32) + 4, "larger than its file"},
      {"no readers", 216, 3, "readers"},
      {"more readers", 216, (std::uint64_t{65} << 32) + 3, "readers"},
      {"slots in the header", 224, 4096, "lie where"},
      {"slots at 0", 224, 0, "lie where"},
      {"slots off their pages", 224, 8192 + 256, "lie where"},
      {"slots past the end", 224, 8192 + 4 * 4096, "lie where"},
      {"slots far past the end", 224, UINT64_MAX - 4095, "lie where"},
      {"slots at the end", 224, 8192 + 3 * 4096, "larger than its file"},
      {"no stride", 232, 0, "larger than its file"},
      {"a stride off the pages", 232, 4096 + 256, "lie where"},
      {"a stride past the end", 232, 8192, "larger than its file"},
      {"a huge stride", 232, UINT64_MAX - 4095, "larger than its file"},
      {"no capacity", 208, 0, "empty"},
      {"more capacity than stride", 208, 4096 - JM_DATA_OFFSET + 1, "larger than its file"},
      {"a huge capacity", 208, UINT64_MAX, "larger than its file"},
      {"a huge capacity, and 256 more is 0", 208, UINT64_MAX - 255, "larger than its file"},
  };
  for (const auto& word : words) {
    SCOPED_TRACE(word.what);
    {
      StreamProtocol stream;
      ASSERT_EQ(stream.create(name.text(), 3, 4096 - JM_DATA_OFFSET, 0600, 0), JM_OK);
      const File file(open(name.path().c_str(), O_RDWR));
      ASSERT_EQ(pwrite(file.get(), &word.value, 8, word.at), 8);
    }
    for (const std::uint32_t flags : {0u, JM_READ_ONLY}) {
      StreamProtocol stream;
      const char* why = "";
      EXPECT_EQ(stream.open(name.text(), flags, &why), JM_ERR_CORRUPT);
      EXPECT_NE(std::string(why).find(word.why), std::string::npos) << why;
    }
    unlink(name.path().c_str());
  }
  // A file that is too short.
  for (const off_t size : {0, 1, 255, 256, 4096, 8192, 8192 + 3 * 4096 - 1}) {
    SCOPED_TRACE(size);
    {
      StreamProtocol stream;
      ASSERT_EQ(stream.create(name.text(), 3, 8, 0600, 0), JM_OK);
    }
    ASSERT_EQ(truncate(name.path().c_str(), size), 0);
    StreamProtocol stream;
    EXPECT_EQ(stream.open(name.text(), 0, nullptr), JM_ERR_CORRUPT);
    unlink(name.path().c_str());
  }
  // The one as the other.
  const Name one, other;
  StreamProtocol stream, wrong;
  const Handle segment = create(one, 20000);
  ASSERT_EQ(write_byte(segment), JM_OK);
  ASSERT_EQ(stream.create(other.text(), 3, 8, 0600, 0), JM_OK);
  const char* why = "";
  EXPECT_EQ(wrong.open(one.text(), 0, &why), JM_ERR_CORRUPT);
  EXPECT_NE(std::string(why).find("it is a segment"), std::string::npos) << why;
  jm_segment* opened;
  EXPECT_EQ(jm_open(other.text(), 0, &opened, &why), JM_ERR_CORRUPT);
  EXPECT_NE(std::string(why).find("stream"), std::string::npos) << why;
  EXPECT_EQ(descriptors(), before + 3) << "a refused file stays open";  // two handles, and a lock's file
}

// What a dead writer left in the header, and what the next one makes of it. Frame 4 is the newest.
class TakeOver : public testing::TestWithParam<std::uint32_t> {
 protected:
  void SetUp() override {
    ASSERT_EQ(first_.create(name_.text(), 3, 8, 0600, GetParam()), JM_OK);
    ASSERT_EQ(other_.open(name_.text(), 0, nullptr), JM_OK);
    for (std::uint64_t i = 1; i <= 4; ++i) {
      ASSERT_EQ(write(&first_, i), JM_OK);
      // Where every frame counts, and nobody reads, the slots would not go round.
      if (GetParam() == JM_EVERY_FRAME && i == 1) {
        ASSERT_EQ(other_.join(&reader_), JM_OK);
      }
      while (GetParam() == JM_EVERY_FRAME && i == 3 && other_.take(&reader_, &frame_) == JM_OK) {
        other_.release(&reader_, frame_);
      }
    }
    if (GetParam() == JM_EVERY_FRAME) {
      while (other_.take(&reader_, &frame_) == JM_OK) other_.release(&reader_, frame_);
    } else {
      ASSERT_EQ(other_.join(&reader_), JM_OK);
    }
    first_.close();
    header_of(other_).flags |= JM_FLAG_WRITER_ATTACHED;  // it died, and did not close
    EXPECT_EQ(other_.writer(), JM_WRITER_DIED);
    newest_ = header_of(other_).table[4 % 3];
    victim_ = header_of(other_).table[3 % 3];
    ASSERT_NE(newest_, victim_);
    ASSERT_EQ(other_.slot(victim_)->sequence, 6u);
  }

  // Commits a frame in a slot as far as it goes without the header.
  void commit_in(std::uint32_t slot, std::uint64_t frame) {
    std::memcpy(reinterpret_cast<std::byte*>(other_.slot(slot)) + JM_DATA_OFFSET, &frame, 8);
    other_.slot(slot)->sequence = 2 * frame;
  }

  const Name name_;
  StreamProtocol first_, other_;
  Reader reader_;
  jm_tensor frame_ = {}, other_frame_ = {};
  std::uint32_t newest_ = 0, victim_ = 0;
};

INSTANTIATE_TEST_SUITE_P(, TakeOver, testing::Values(kNewest, JM_EVERY_FRAME));

TEST_P(TakeOver, BetweenTwoCommits) {
  ASSERT_EQ(write(&other_, 5), JM_OK);
  ASSERT_EQ(other_.take(&reader_, &frame_), JM_OK);
  EXPECT_EQ(frame_.version, 10u);
  EXPECT_EQ(value_of(frame_), 5u);
  EXPECT_EQ(other_.writer(), JM_WRITER_HERE);
}

TEST_P(TakeOver, InTheMiddleOfACommit) {
  other_.slot(victim_)->sequence |= 1;
  other_.slot(victim_)->ndim = 99;  // half stored
  void* data;
  std::uint64_t length;
  ASSERT_EQ(other_.begin(nullptr, 0, JM_UINT64, &data, &length), JM_OK);
  EXPECT_EQ(other_.version(), 8u) << "no frame was committed";
  const bool in_it = other_.slot_of(data) == victim_;
  EXPECT_EQ(other_.slot(victim_)->sequence, in_it ? 1u : 0u);
  EXPECT_EQ(other_.slot(victim_)->ndim, 0u);
  ASSERT_EQ(other_.abort(), JM_OK);
  EXPECT_EQ(other_.take(&reader_, &frame_), JM_ERR_EMPTY);
  ASSERT_EQ(write(&other_, 5), JM_OK);
  ASSERT_EQ(other_.take(&reader_, &frame_), JM_OK);
  EXPECT_EQ(frame_.version, 10u);
  EXPECT_EQ(value_of(frame_), 5u);
  EXPECT_EQ(reader_.missed(), 0u);
}

// Committed in the slot and not in the header: the frame counts, because a reader may have it.
TEST_P(TakeOver, BetweenTheSlotAndTheHeader) {
  commit_in(victim_, 5);
  header_of(other_).table[5 % 3] = victim_;
  EXPECT_EQ(other_.take(&reader_, &frame_), JM_ERR_EMPTY);
  ASSERT_EQ(write(&other_, 6), JM_OK);
  EXPECT_EQ(other_.version(), 12u);
  if (GetParam() == JM_EVERY_FRAME) {
    ASSERT_EQ(other_.take(&reader_, &frame_), JM_OK);
    EXPECT_EQ(frame_.version, 10u);
    EXPECT_EQ(value_of(frame_), 5u);
    other_.release(&reader_, frame_);
  }
  ASSERT_EQ(other_.take(&reader_, &frame_), JM_OK);
  EXPECT_EQ(frame_.version, 12u);
  EXPECT_EQ(value_of(frame_), 6u);
}

TEST_P(TakeOver, BeforeTheTable) {
  commit_in(victim_, 5);
  header_of(other_).table[5 % 3] = 77;
  void* data;
  std::uint64_t length;
  ASSERT_EQ(other_.begin(nullptr, 0, JM_UINT64, &data, &length), JM_OK);
  EXPECT_EQ(other_.version(), 10u) << "the takeover finishes the commit";
  EXPECT_NE(other_.slot_of(data), victim_) << "the newest";
  ASSERT_EQ(other_.take(&reader_, &frame_), JM_OK);
  EXPECT_EQ(value_of(frame_), 5u);
  EXPECT_EQ(other_.slot_of(frame_.data), victim_);
  ASSERT_EQ(other_.abort(), JM_OK);
}

// It made a slot odd that a reader holds, and died before it looked at the pins.
TEST_P(TakeOver, InASlotThatIsHeld) {
  const Name name;
  StreamProtocol dead, next;
  ASSERT_EQ(dead.create(name.text(), 3, 8, 0600, GetParam()), JM_OK);
  ASSERT_EQ(next.open(name.text(), 0, nullptr), JM_OK);
  Reader reader;
  ASSERT_EQ(next.join(&reader), JM_OK);
  ASSERT_EQ(write(&dead, 1), JM_OK);
  ASSERT_EQ(next.take(&reader, &frame_), JM_OK);
  ASSERT_EQ(write(&dead, 2), JM_OK);
  const std::uint32_t held = next.slot_of(frame_.data);
  next.slot(held)->sequence |= 1;
  dead.close();
  header_of(next).flags |= JM_FLAG_WRITER_ATTACHED;
  ASSERT_EQ(write(&next, 3), JM_OK);
  EXPECT_EQ(next.slot(held)->sequence, 0u);
  EXPECT_EQ(next.slot(held)->byte_length, 8u) << "a reader may be about to look at the metadata";
  EXPECT_EQ(value_of(frame_), 1u);
  EXPECT_EQ(pins_of(next, held), 1u);
  EXPECT_EQ(next.take(&reader, &other_frame_), JM_OK);
  EXPECT_EQ(value_of(frame_), 1u);
  next.release(&reader, frame_);
  void* data;
  std::uint64_t length;
  ASSERT_EQ(next.begin(nullptr, 0, JM_UINT64, &data, &length), JM_OK);
  EXPECT_EQ(next.slot_of(data), held);
  ASSERT_EQ(next.commit(), JM_OK);
  next.leave(&reader);
}

// What a dead reader leaves: a writer without a slot takes it away, and nothing of the living.
TEST(Reclaim, WhatADeadReaderLeaves) {
  const struct {
    const char* what;
    std::uint32_t policy;
    std::uint64_t readers;  // bits of places, beside reader 0's
    std::uint64_t cursor;
    std::uint64_t pins;
  } cases[] = {
      {"a place, as it joined", JM_EVERY_FRAME, 2, 0, 0},
      {"a place, and nothing taken", JM_EVERY_FRAME, 2, 1, 0},
      {"a place and pins", JM_EVERY_FRAME, 2, 1, 2},
      {"pins, as it left", JM_EVERY_FRAME, 0, 0, 2},
      {"pins and a place", kNewest, 2, 1, 2},
      {"pins", kNewest, 0, 0, 2},
      {"the last place", kNewest, std::uint64_t{1} << 63, 1, std::uint64_t{1} << 63},
      {"all bits", kNewest, UINT64_MAX, 1, UINT64_MAX},
      {"all bits, every frame", JM_EVERY_FRAME, UINT64_MAX, 1, UINT64_MAX},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    const Name name;
    StreamProtocol stream, other;
    Reader reader, late;
    jm_tensor frame;
    ASSERT_EQ(stream.create(name.text(), 4, 8, 0600, c.policy), JM_OK);
    ASSERT_EQ(other.open(name.text(), 0, nullptr), JM_OK);
    ASSERT_EQ(other.join(&reader), JM_OK);  // lives
    ASSERT_EQ(write(&stream, 1), JM_OK);
    ASSERT_EQ(other.take(&reader, &frame), JM_OK);
    const std::uint32_t held = other.slot_of(frame.data);
    for (int i = 0; i < 3; ++i) ASSERT_EQ(write(&stream), JM_OK);
    jm_tensor later = {};
    while (c.policy == JM_EVERY_FRAME && other.take(&reader, &later) == JM_OK) other.release(&reader, later);
    header_of(stream).readers |= c.readers;
    for (unsigned i = 1; i < JM_STREAM_READERS; ++i) header_of(stream).places[i].cursor = c.cursor;
    for (std::uint32_t i = 0; i < 4; ++i) pins_of(stream, i) |= i == held ? c.pins | 1 : c.pins & ~std::uint64_t{1};
    const std::uint64_t left = header_of(stream).readers | (c.pins | 1);
    jm_reader_info infos[JM_STREAM_READERS];
    const std::size_t count = stream.places(infos, true);
    EXPECT_EQ(count, static_cast<std::size_t>(__builtin_popcountll(left)));
    for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(infos[i].dead, infos[i].number != 0);

    EXPECT_EQ(write(&stream, 9), JM_OK);
    EXPECT_EQ(header_of(stream).readers, 1u);
    for (std::uint32_t i = 0; i < 4; ++i) EXPECT_EQ(pins_of(stream, i), i == held ? 1u : 0u) << i;
    EXPECT_EQ(value_of(frame), 1u);

    // It is not looked for at every attempt.
    for (std::uint32_t i = 0; i < 4; ++i) pins_of(stream, i) |= 2;
    EXPECT_EQ(write(&stream), JM_ERR_NO_SLOT);
    std::this_thread::sleep_for(milliseconds(45));
    EXPECT_EQ(write(&stream), JM_OK);

    // Who gets the number of a dead one has nothing of it.
    for (std::uint32_t i = 0; i < 4; ++i) pins_of(stream, i) |= 2;
    header_of(stream).writer_waits = 1;
    const std::uint32_t released = header_of(stream).released;
    ASSERT_EQ(stream.join(&late), JM_OK);
    EXPECT_EQ(header_of(stream).readers, 3u);
    EXPECT_NE(header_of(stream).released, released) << "slots came free";
    for (std::uint32_t i = 0; i < 4; ++i) EXPECT_EQ(pins_of(stream, i), i == held ? 1u : 0u) << i;
    EXPECT_EQ(stream.take(&late, &later), JM_ERR_EMPTY);
  }
}

// Pins and places of readers that live stay, whosever handle they are of.
TEST(Reclaim, TheLivingKeepWhatTheyHave) {
  for (const std::uint32_t policy : {kNewest, JM_EVERY_FRAME}) {
    SCOPED_TRACE(policy);
    const Name name;
    StreamProtocol stream, other;
    Reader own, others;
    ASSERT_EQ(stream.create(name.text(), 2, 8, 0600, policy), JM_OK);
    ASSERT_EQ(other.open(name.text(), 0, nullptr), JM_OK);
    ASSERT_EQ(stream.join(&own), JM_OK);
    ASSERT_EQ(other.join(&others), JM_OK);
    EXPECT_EQ(header_of(stream).readers, 3u) << "numbers of two handles";
    jm_tensor one, two;
    ASSERT_EQ(write(&stream, 1), JM_OK);
    ASSERT_EQ(stream.take(&own, &one), JM_OK);
    ASSERT_EQ(other.take(&others, &two), JM_OK);
    ASSERT_EQ(write(&stream, 2), JM_OK);
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(write(&stream, 3), JM_ERR_NO_SLOT);
      std::this_thread::sleep_for(milliseconds(45));
    }
    EXPECT_EQ(pins_of(stream, stream.slot_of(one.data)), 3u);
    EXPECT_EQ(header_of(stream).readers, 3u);
    EXPECT_EQ(value_of(one), 1u);
    EXPECT_EQ(value_of(two), 1u);
    stream.release(&own, one);
    EXPECT_EQ(write(&stream, 3), JM_ERR_NO_SLOT);
    other.release(&others, two);
    EXPECT_EQ(write(&stream, 3), JM_OK);
    // Numbers are of the whole stream: 62 more, in two handles.
    std::array<Reader, JM_STREAM_READERS - 2> more;
    Reader late;
    for (std::size_t i = 0; i < more.size(); ++i) ASSERT_EQ((i % 2 ? stream : other).join(&more[i]), JM_OK);
    EXPECT_EQ(stream.join(&late), JM_ERR_NO_PLACE);
    EXPECT_EQ(other.join(&late), JM_ERR_NO_PLACE);
    other.close();
    EXPECT_EQ(header_of(stream).readers.load(), [&] {
      std::uint64_t bits = 1;
      for (std::size_t i = 1; i < more.size(); i += 2) bits |= std::uint64_t{1} << (i + 2);
      return bits;
    }());
    EXPECT_EQ(stream.join(&late), JM_OK);
    stream.close();
  }
}

// Who may only read has no place, and copies.
TEST(StreamProtocol, ReadOnly) {
  const Name name;
  StreamProtocol stream, reading;
  ASSERT_EQ(stream.create(name.text(), 2, 8, 0600, 0), JM_OK);
  ASSERT_EQ(write(&stream, 5), JM_OK);
  ASSERT_EQ(reading.open(name.text(), JM_READ_ONLY, nullptr), JM_OK);
  Reader reader;
  std::uint64_t copy = 0;
  jm_tensor frame;
  EXPECT_EQ(reading.join(&reader), JM_ERR_READ_ONLY);
  EXPECT_EQ(write(&reading), JM_ERR_READ_ONLY);
  EXPECT_EQ(reading.try_read_into(0, &copy, 8, &frame), JM_OK);
  EXPECT_EQ(copy, 5u);
  EXPECT_EQ(reading.writer(), JM_WRITER_OTHER);
  // Nothing stores to what is mapped without the right to.
  std::uint32_t seen;
  void* data;
  std::uint64_t length;
  EXPECT_EQ(reading.announce_writer(&seen), JM_ERR_READ_ONLY);
  EXPECT_EQ(reading.begin(nullptr, 0, JM_UINT64, &data, &length), JM_ERR_READ_ONLY);
  EXPECT_EQ(reading.park(10, 0), JM_OK);
  EXPECT_EQ(reading.take(&reader, &frame), JM_ERR_CLOSED);
  jm_reader_info infos[JM_STREAM_READERS];
  EXPECT_EQ(reading.places(infos, true), 0u);
  reading.wake_writer();
  reading.leave(&reader);
  reading.close();
  EXPECT_EQ(reading.retire(), 0);
}

// Another process writes what it likes to a stream's file: nothing crashes or hangs, and nothing outside the slots is
// touched. What comes back is a status or a frame within the slots.
TEST(Hostile, AnyWords) {
  const Watchdog watchdog(seconds(120));
  constexpr std::uint32_t kSlots = 3;
  constexpr std::uint64_t kCapacity = 64, kStride = 4096;
  constexpr off_t kEnd = 8192 + kSlots * kStride;
#ifdef JM_THREAD_SANITIZER
  constexpr int kRounds = 3000;
#else
  constexpr int kRounds = 20000;
#endif
  for (const std::uint32_t policy : {kNewest, JM_EVERY_FRAME}) {
    const Name name;
    auto stream = std::make_unique<StreamProtocol>();
    ASSERT_EQ(stream->create(name.text(), kSlots, kCapacity, 0600, policy), JM_OK);
    stream.reset();
    // A page behind the last slot, which nothing has to do with.
    const File file(open(name.path().c_str(), O_RDWR));
    const std::vector<char> tail(4096, 'x');
    ASSERT_EQ(pwrite(file.get(), tail.data(), tail.size(), kEnd), 4096);
    auto* const bytes =
        static_cast<std::byte*>(mmap(nullptr, kEnd + 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0));
    ASSERT_NE(static_cast<void*>(bytes), MAP_FAILED);
    auto open_again = [&] {
      stream = std::make_unique<StreamProtocol>();
      return stream->open(name.text(), 0, nullptr);
    };
    ASSERT_EQ(open_again(), JM_OK);
    std::mt19937_64 random(policy + 1);
    std::array<Reader, 3> readers;
    jm_tensor frames[3] = {};
    long taken = 0, written = 0, opened = 0;
    for (int round = 0; round < kRounds; ++round) {
      // Words in place of what counts, now and then of anything.
      const std::uint64_t near = stream->version();
      const std::uint64_t values[] = {0,        1,          2,
                                      near,     near + 1,   near + 2,
                                      near - 2, near / 2,   near / 2 + 1,
                                      2 * near, UINT64_MAX, std::uint64_t{1} << 63,
                                      kSlots,   random(),   random() % 8};
      const std::uint64_t value = values[random() % std::size(values)];
      std::size_t at = 0;
      switch (random() % 9) {
        case 0:
          at = 0;
          break;
        case 1:
          at = 1024 + random() % kSlots * 4;
          break;
        case 2:
          at = 4096 + random() % JM_STREAM_READERS * 64 + random() % 2 * 8;
          break;
        case 3:
          at = 256;
          break;
        case 4:
          at = 320 + random() % 2 * 4;
          break;
        case 5:
          at = 8192 + random() % kSlots * kStride;
          break;
        case 6:
          at = 8192 + random() % kSlots * kStride + JM_PINS_OFFSET;
          break;
        case 7:
          at = 8192 + random() % kSlots * kStride + 64 + random() % 10 * 8;
          break;
        default:
          at = 8 * (random() % 24);  // the header's first words, not its layout
      }
      if (random() % 4 == 0) {
        if (at % 8 == 0) {
          reinterpret_cast<std::atomic<std::uint64_t>*>(bytes + at)->store(value);
        } else {
          reinterpret_cast<std::atomic<std::uint32_t>*>(bytes + at)->store(static_cast<std::uint32_t>(value));
        }
      }
      const std::size_t who = random() % readers.size();
      jm_tensor frame = {};
      std::uint64_t buffer[kCapacity / 8];
      std::uint32_t seen;
      jm_reader_info infos[JM_STREAM_READERS];
      jm_status status;
      switch (random() % 12) {
        case 0:
          stream->join(&readers[who]);
          break;
        case 1:
        case 2:
        case 3:
          status = stream->take(&readers[who], &frame);
          if (status != JM_OK) break;
          ++taken;
          ASSERT_LT(stream->slot_of(frame.data), kSlots);
          ASSERT_LE(frame.byte_length, kCapacity);
          stream->release(&readers[who], frames[who]);
          frames[who] = frame;
          break;
        case 4:
          stream->release(&readers[who], frames[who]);
          break;
        case 5:
          if (random() % 8 == 0) stream->leave(&readers[who]);
          break;
        case 6:
        case 7:
          written += write(stream.get()) == JM_OK;
          break;
        case 8: {
          void* data;
          std::uint64_t length;
          const std::uint64_t shape = kCapacity;
          if (stream->begin(&shape, 1, JM_UINT8, &data, &length) != JM_OK) break;
          ASSERT_LT(stream->slot_of(data), kSlots);
          std::memset(data, 1, length);
          random() % 2 == 0 ? stream->abort() : stream->commit();
          break;
        }
        case 9:
          stream->announce_writer(&seen);
          stream->places(infos, random() % 64 == 0);
          break;
        case 10:
          if (stream->try_read(0, &frame) == JM_OK) {
            ASSERT_LT(stream->slot_of(frame.data), kSlots);
          }
          if (stream->try_read_into(0, buffer, sizeof buffer, &frame) == JM_OK) {
            ASSERT_LE(frame.byte_length, kCapacity);
          }
          break;
        default:
          if (random() % 32 != 0) break;
          for (Reader& reader : readers) stream->leave(&reader);
          // The layout as it was, else it does not open.
          reinterpret_cast<std::atomic<std::uint32_t>*>(bytes + 192)->store(JM_STREAM_MAGIC);
          reinterpret_cast<std::atomic<std::uint64_t>*>(bytes + 208)->store(kCapacity);
          ASSERT_EQ(open_again(), JM_OK);
          ++opened;
      }
    }
    EXPECT_GT(taken, kRounds / 400);
    EXPECT_GT(written, kRounds / 100);
    EXPECT_GT(opened, kRounds / 2000);
    EXPECT_EQ(std::memcmp(bytes + kEnd, tail.data(), tail.size()), 0);
    for (Reader& reader : readers) stream->leave(&reader);
    munmap(bytes, kEnd + 4096);
  }
}

#endif  // __linux__

}  // namespace
