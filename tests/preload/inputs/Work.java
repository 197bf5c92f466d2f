// Collections, strings, threads, direct buffers and compression on the JVM: Work SCALE.
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.zip.CRC32;
import java.util.zip.Deflater;
import java.util.zip.Inflater;

public class Work {
  static long churn(int seed, int count) {
    TreeMap<String, List<Integer>> map = new TreeMap<>();
    for (int i = 0; i < count; i++) {
      map.computeIfAbsent("key" + (i * 7919L + seed) % 1009, key -> new ArrayList<>()).add(i);
    }
    CRC32 crc = new CRC32();
    map.forEach((key, list) -> crc.update((key + list.size() + list.get(list.size() - 1)).getBytes()));
    return crc.getValue();
  }

  // The compressor's state and direct buffers come from malloc.
  static long compress(int seed) throws Exception {
    byte[] input = new byte[200000];
    for (int i = 0; i < input.length; i++) input[i] = (byte) (i * seed / 100);
    Deflater deflater = new Deflater(6);
    deflater.setInput(input);
    deflater.finish();
    byte[] packed = new byte[300000];
    int size = deflater.deflate(packed);
    deflater.end();
    Inflater inflater = new Inflater();
    inflater.setInput(packed, 0, size);
    byte[] output = new byte[input.length];
    int length = inflater.inflate(output);
    inflater.end();
    ByteBuffer direct = ByteBuffer.allocateDirect(length);
    direct.put(output, 0, length).flip();
    CRC32 crc = new CRC32();
    crc.update(direct);
    return crc.getValue();
  }

  public static void main(String[] args) throws Exception {
    int scale = Integer.parseInt(args[0]);
    System.out.println("Hello");
    ExecutorService pool = Executors.newFixedThreadPool(4);
    List<Future<Long>> results = new ArrayList<>();
    for (int i = 0; i < 8 * scale; i++) {
      int seed = i + 1;
      results.add(pool.submit(() -> churn(seed, 50000)));
      results.add(pool.submit(() -> compress(seed)));
    }
    for (Future<Long> result : results) System.out.println(result.get());
    pool.shutdown();
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < 100000 * scale; i++) text.append(i);
    System.out.println(text.length() + " " + text.toString().hashCode());
  }
}
