/* Answers with a SavedModel through TensorFlow's C API: no Python, and no
 * operations but TensorFlow's own and those of the libraries that are named.
 *
 *   answer EXPORT < requests > answers
 *
 * Requests are lines; what follows `input` is one value a line, row by row,
 * texts as the hexadecimal digits of their bytes:
 *
 *   library PATH
 *   load
 *   input OPERATION INDEX string|int32 RANK SIZE...
 *   output NAME OPERATION INDEX
 *   run
 *   time
 *
 * After each `run`, for each output in the order asked for, a line
 * `NAME TYPE RANK SIZE...` and one value a line. `run` forgets the inputs and
 * outputs before it. `time` does what `run` does, and prints the seconds that
 * it took instead.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

enum { MOST = 32 };

static TF_Graph *graph;
static TF_Session *session;
static TF_Status *status;

static void fail(const char *what, const char *which) {
  fprintf(stderr, "%s: %s\n", what, which);
  exit(1);
}

static void check(const char *what) {
  if (TF_GetCode(status) != TF_OK) fail(what, TF_Message(status));
}

/* Returns the next line without its end, or NULL; it is good until the next call. */
static char *next_line(void) {
  static char *line = NULL;
  static size_t room = 0;
  ssize_t length = getline(&line, &room, stdin);
  if (length < 0) return NULL;
  if (length > 0 && line[length - 1] == '\n') line[length - 1] = '\0';
  return line;
}

static char *value_line(void) {
  char *line = next_line();
  if (line == NULL) fail("The requests end in the middle of", "an input");
  return line;
}

static char *word(void) {
  char *found = strtok(NULL, " ");
  if (found == NULL) fail("A line ends too early after", "its first words");
  return found;
}

static void load(const char *folder) {
  const char *tags[] = {"serve"};
  TF_SessionOptions *options = TF_NewSessionOptions();
  graph = TF_NewGraph();
  session = TF_LoadSessionFromSavedModel(options, NULL, folder, tags, 1, graph, NULL, status);
  check("The SavedModel cannot be loaded");
  TF_DeleteSessionOptions(options);
}

static TF_Output place(void) {
  const char *name = word();
  TF_Output found = {TF_GraphOperationByName(graph, name), 0};
  if (found.oper == NULL) fail("There is no operation", name);
  found.index = atoi(word());
  return found;
}

static void read_text(TF_TString *text) {
  const char *digits = value_line();
  size_t size = strlen(digits) / 2;
  char *bytes = malloc(size + 1);
  for (size_t i = 0; i < size; i++) {
    unsigned value;
    sscanf(digits + 2 * i, "%2x", &value);
    bytes[i] = (char)value;
  }
  TF_StringInit(text);
  TF_StringCopy(text, bytes, size);
  free(bytes);
}

static TF_Tensor *read_tensor(void) {
  int texts = strcmp(word(), "string") == 0;
  int rank = atoi(word());
  int64_t sizes[MOST], count = 1;
  for (int i = 0; i < rank; i++) count *= sizes[i] = atoll(word());
  size_t width = texts ? sizeof(TF_TString) : sizeof(int32_t);
  TF_Tensor *tensor = TF_AllocateTensor(texts ? TF_STRING : TF_INT32, sizes, rank, count * width);
  for (int64_t i = 0; i < count; i++) {
    if (texts)
      read_text((TF_TString *)TF_TensorData(tensor) + i);
    else
      ((int32_t *)TF_TensorData(tensor))[i] = atoi(value_line());
  }
  return tensor;
}

static void print_value(const void *data, TF_DataType type, int64_t i) {
  if (type == TF_STRING) {
    const TF_TString *text = (const TF_TString *)data + i;
    const unsigned char *bytes = (const unsigned char *)TF_StringGetDataPointer(text);
    for (size_t j = 0; j < TF_StringGetSize(text); j++) printf("%02x", bytes[j]);
    printf("\n");
  } else if (type == TF_FLOAT) {
    printf("%.9g\n", ((const float *)data)[i]);
  } else if (type == TF_INT32) {
    printf("%d\n", ((const int32_t *)data)[i]);
  } else if (type == TF_BOOL) {
    printf("%d\n", ((const unsigned char *)data)[i]);
  } else {
    fail("An output is of no type that exports have", "see answer.c");
  }
}

static const char *type_name(TF_DataType type) {
  return type == TF_STRING ? "string" : type == TF_FLOAT ? "float32" : type == TF_INT32 ? "int32" : "bool";
}

static void print_tensor(const char *name, const TF_Tensor *tensor) {
  TF_DataType type = TF_TensorType(tensor);
  printf("%s %s %d", name, type_name(type), TF_NumDims(tensor));
  for (int i = 0; i < TF_NumDims(tensor); i++) printf(" %lld", (long long)TF_Dim(tensor, i));
  printf("\n");
  for (int64_t i = 0; i < TF_TensorElementCount(tensor); i++) print_value(TF_TensorData(tensor), type, i);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + 1e-9 * time.tv_nsec;
}

int main(int count, char **arguments) {
  TF_Output inputs[MOST], outputs[MOST];
  TF_Tensor *given[MOST], *found[MOST];
  char names[MOST][128];
  int in = 0, out = 0;
  if (count != 2) fail("Usage", "answer EXPORT < requests");
  status = TF_NewStatus();
  for (char *line = next_line(); line != NULL; line = next_line()) {
    const char *order = strtok(line, " ");
    if (order == NULL) continue;
    if (in == MOST || out == MOST) fail("Too many inputs or outputs", order);
    if (strcmp(order, "library") == 0) {
      TF_LoadLibrary(word(), status);
      check("A library cannot be loaded");
    } else if (strcmp(order, "load") == 0) {
      load(arguments[1]);
    } else if (strcmp(order, "input") == 0) {
      inputs[in] = place();
      given[in++] = read_tensor();
    } else if (strcmp(order, "output") == 0) {
      snprintf(names[out], sizeof(names[out]), "%s", word());
      outputs[out++] = place();
    } else if (strcmp(order, "run") == 0 || strcmp(order, "time") == 0) {
      int timed = strcmp(order, "time") == 0;
      double started = now();
      TF_SessionRun(session, NULL, inputs, given, in, outputs, found, out, NULL, 0, NULL, status);
      if (timed) printf("%.9f\n", now() - started);
      check("The signature fails");
      for (int i = 0; i < out; i++) {
        if (!timed) print_tensor(names[i], found[i]);
        TF_DeleteTensor(found[i]);
      }
      while (in > 0) TF_DeleteTensor(given[--in]);
      out = 0;
      fflush(stdout);
    } else {
      fail("Not understood", order);
    }
  }
  if (session != NULL) {
    TF_CloseSession(session, status);
    TF_DeleteSession(session, status);
    TF_DeleteGraph(graph);
  }
  TF_DeleteStatus(status);
  return 0;
}
